//! Floor 4: the reference evaluator. Node by node, with each operator's own rule and nothing else:
//! slow, plain, and what every compiled result is held against.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::{NodeId, Target};
use crate::ops::{Graph, Leaf, Op, Runs, Tensor};
use crate::types::Value;

impl Graph {
    /// Evaluates the named tensors, given the values of inputs and state by name. State without a
    /// value has its initial one.
    ///
    /// # Errors
    /// The first error made while building; an input that the results need and that has no value; a
    /// value of another type than its leaf; a value for a leaf that does not exist.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2], F32);
    /// let values = g.interpret(&[("y", x * 2.0)], &[("x", array![1.0f32, 2.5].into())])?;
    /// assert_eq!(values["y"], array![2.0f32, 5.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn interpret(
        &self,
        outputs: &[(&str, Tensor<'_>)],
        leaves: &[(&str, Value)],
    ) -> Result<BTreeMap<String, Value>> {
        self.check_own("interpret", outputs.iter().map(|output| output.1))?;
        let nodes: Vec<NodeId> = outputs.iter().map(|output| output.1.id).collect();
        let leaves = leaves.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let values = self.evaluate(&nodes, &leaves)?;
        Ok(outputs.iter().map(|output| output.0.to_string()).zip(values).collect())
    }

    /// Evaluates a graph's results once: the outputs by name, and the state (of which `leaves` holds
    /// the old values) after its updates.
    ///
    /// # Errors
    /// As [`Graph::interpret`].
    pub fn interpret_results(&self, leaves: &mut BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>> {
        let results = self.results();
        let nodes: Vec<NodeId> = results.iter().map(|result| result.1).collect();
        let values = self.evaluate(&nodes, leaves)?;
        let mut outputs = BTreeMap::new();
        for ((target, _), value) in results.into_iter().zip(values) {
            match target {
                Target::Output(name) => outputs.insert(name, value),
                Target::Update(name) => leaves.insert(name, value),
            };
        }
        Ok(outputs)
    }

    fn evaluate(&self, nodes: &[NodeId], leaves: &BTreeMap<String, Value>) -> Result<Vec<Value>> {
        self.check()?;
        if let Some(name) = leaves.keys().find(|name| self.leaf(name).is_none()) {
            return Err(Error::UnknownName {
                kind: "input or state",
                name: name.clone(),
                known: self.leaf_names(),
            });
        }
        let needed = self.reachable(nodes.iter().copied());
        let mut values: Vec<Option<Value>> = vec![None; self.len()];
        let mut runs = Runs::default();
        for id in self.ids().filter(|id| needed[id.index()]) {
            let node = self.node(id).clone();
            let value = match &node.op {
                Op::Leaf(leaf) => self.leaf_value(leaf, id, leaves)?,
                op => {
                    let ids = self.operands(id);
                    let operands: Vec<&Value> =
                        ids.iter().filter_map(|operand| values[operand.index()].as_ref()).collect();
                    runs.evaluate(op, &ids, &operands, node.ty)
                }
            };
            values[id.index()] = Some(value);
        }
        Ok(nodes.iter().filter_map(|id| values[id.index()].clone()).collect())
    }

    fn leaf_value(&self, leaf: &Leaf, id: NodeId, leaves: &BTreeMap<String, Value>) -> Result<Value> {
        use crate::ops::Rules;
        let ty = self.ty(id);
        let (Leaf::Input { name, .. } | Leaf::State { name, .. }) = leaf else {
            return Ok(leaf.evaluate(&[], ty));
        };
        match leaves.get(&**name) {
            Some(value) if value.ty() == ty => Ok(value.clone()),
            Some(value) => {
                let (name, given) = (name.to_string(), value.ty());
                Err(Error::ValueType { kind: leaf.name(), name, expected: ty, given })
            }
            None if matches!(leaf, Leaf::State { .. }) => Ok(leaf.evaluate(&[], ty)),
            None => Err(Error::MissingInput { name: name.to_string(), ty }),
        }
    }

    fn leaf_names(&self) -> String {
        let names: Vec<String> =
            self.ids().filter_map(|id| self.tensor(id).leaf_name()).map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}
