//! The smallest model: one linear layer, trained for 1,000 steps.

use hitofude::prelude::*;

fn main() -> Result<()> {
    let g = Graph::new();
    let x = g.input("x", [3], F32);
    let target = g.input("target", [1], F32);
    let weight = g.parameter("weight", [1, 3], F32);
    let bias = g.parameter("bias", [1], F32);
    let output = x.linear(weight, bias);
    let loss = output.mse_loss(target);
    let step = g.training_step(loss, Sgd::new(0.01))?.output("output", output).compile()?;

    let mut state = step.state(); // parameters and settings, owned by the caller
    state.set("weight", array![[0.4f32, 0.5, 0.6]])?;
    state.set("bias", array![0.1f32])?;
    let inputs = step.inputs().with("x", array![0.1f32, 0.2, 0.3])?.with("target", array![1.0f32])?;
    for k in 0..1000 {
        let report = step.run(&mut state, &inputs)?;
        if [0, 1, 2, 9, 99, 199, 499, 999].contains(&k) {
            println!("{k:4}  output {:.5}  loss {:.3e}", report.number("output")?, report.loss());
        }
    }
    println!("weight {:?}\nbias {:?}", state.view::<f32>("weight")?, state.view::<f32>("bias")?);
    Ok(())
}
