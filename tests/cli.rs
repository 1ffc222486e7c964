//! The command line: what it prints, what it writes, and how it refuses bad input.
#![cfg(feature = "cli")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

/// A finished run of the program.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn hitofude(arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_hitofude"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let run = Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    for stream in [&run.stdout, &run.stderr] {
        assert!(!stream.contains("panicked"), "{arguments:?} panicked:\n{stream}");
    }
    run
}

impl Run {
    /// The standard output of a run that succeeded.
    #[track_caller]
    fn success(self) -> String {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// The standard output of a run that succeeded and had nothing else to say.
    #[track_caller]
    fn quiet_success(self) -> String {
        assert_eq!(self.stderr, "");
        self.success()
    }

    /// The message of a run that was refused.
    #[track_caller]
    fn refusal(self) -> String {
        assert_eq!(self.code, Some(2), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_ne!(self.stderr.trim(), "", "refused without a word");
        self.stderr
    }

    /// The message of a run that was refused, holding all of `parts`.
    #[track_caller]
    fn refusal_with(self, parts: &[&str]) {
        let message = self.refusal();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
}

/// A file that exists as long as this value.
struct Scratch(PathBuf);

impl Scratch {
    /// A path where no file is yet.
    fn new() -> Scratch {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Scratch(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn with(content: impl AsRef<[u8]>) -> Scratch {
        let file = Scratch::new();
        std::fs::write(&file.0, content).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Fits column `y` of this file.
    fn fit(&self, options: &[&str]) -> Run {
        hitofude(&[&["fit", self.path(), "--target", "y"], options].concat())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // It may never have been written.
    }
}

/// Fits column `y` of a table.
fn fit(table: impl AsRef<[u8]>, options: &[&str]) -> Run {
    Scratch::with(table).fit(options)
}

/// Fits column `y` of a table, to be refused with a message that names the file and holds all of `parts`.
#[track_caller]
fn assert_file_refused(table: impl AsRef<[u8]>, options: &[&str], parts: &[&str]) {
    let file = Scratch::with(table);
    file.fit(options).refusal_with(&[&[file.path()], parts].concat());
}

/// The lines of `--json`.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// The last line of `fit --json`.
#[track_caller]
fn summary(run: Run) -> Value {
    json_lines(&run.success()).pop().unwrap()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[track_caller]
fn assert_near(got: f64, expected: f64, tolerance: f64) {
    let error = (got - expected).abs();
    assert!(error <= tolerance, "{got:e}, expected {expected:e}: off by {error:e}");
}

/// The first cells of the rows that start with a whole number.
fn steps_shown(table: &str) -> Vec<u64> {
    table.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

mod memo {
    use super::*;

    /// The rows for which the model's behaviour is known.
    const SHOWN: [u64; 8] = [0, 1, 2, 9, 99, 199, 499, 999];

    /// The distance of the output from its target before update `step`, in exact arithmetic.
    fn exact_residual(step: u64) -> f64 {
        0.58 * (1.0 - 0.02 * 1.14_f64).powi(step.try_into().unwrap())
    }

    #[test]
    fn table_of_steps() {
        let text = hitofude(&[]).quiet_success();
        let heading: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(heading, ["step", "output", "loss"]);
        assert_eq!(steps_shown(&text), SHOWN);
        let first: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(first, ["0", "0.42000", "3.364e-01"]);
        for label in ["weight  [[0.4508", "bias    [0.6087", "compiled in", "ns a step"] {
            assert!(text.contains(label), "`{label}` is not in:\n{text}");
        }
    }

    #[test]
    fn json_agrees_with_exact_arithmetic() {
        for (dtype, output_error, least_loss) in [("f32", 2e-6, 1e-11), ("f64", 5e-15, 1e-28)] {
            let text = hitofude(&["--json", "--dtype", dtype]).quiet_success();
            let mut lines = json_lines(&text);
            assert_eq!(
                keys(&lines.pop().unwrap()),
                ["weight", "bias", "compile_ms", "ns_per_step"],
                "{dtype}"
            );
            assert_eq!(lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), SHOWN);
            for line in &lines {
                assert_eq!(keys(line), ["step", "output", "loss"]);
                let residual = exact_residual(line["step"].as_u64().unwrap());
                assert_near(number(&line["output"]), 1.0 - residual, output_error);
                assert_near(
                    number(&line["loss"]),
                    residual * residual,
                    2.0 * output_error * residual + least_loss,
                );
            }
        }
    }

    #[test]
    fn json_weights() {
        /// Weight and bias after 1000 steps in f32 arithmetic.
        const SINGLE: [f64; 4] = [0.45087668, 0.60175341, 0.75263059, 0.60877097];
        // In exact arithmetic, each start moves along its input.
        let moved = (0.58 - exact_residual(1000)) / 1.14;
        let double = [0.4 + 0.1 * moved, 0.5 + 0.2 * moved, 0.6 + 0.3 * moved, 0.1 + moved];
        for (dtype, expected, tolerance) in [("f32", SINGLE, 1e-6), ("f64", double, 5e-15)] {
            let last = json_lines(&hitofude(&["--json", "--dtype", dtype]).success()).pop().unwrap();
            let [weight, bias] = [&last["weight"][0], &last["bias"]].map(|list| list.as_array().unwrap());
            assert_eq!((weight.len(), bias.len()), (3, 1));
            for (got, expected) in weight.iter().chain(bias).zip(expected) {
                assert_near(number(got), expected, tolerance);
            }
            assert!(number(&last["compile_ms"]) > 0.0 && number(&last["ns_per_step"]) > 0.0);
        }
    }

    #[test]
    fn numbers_of_steps() {
        for (steps, shown) in [("0", &[][..]), ("1", &[0]), ("5", &[0, 1, 2, 4]), ("10", &[0, 1, 2, 9])] {
            assert_eq!(steps_shown(&hitofude(&["--steps", steps]).quiet_success()), shown);
            let lines = json_lines(&hitofude(&["--steps", steps, "--json"]).quiet_success());
            assert_eq!(lines.len(), shown.len() + 1);
        }
        let untrained = hitofude(&["--steps", "0", "--json", "--dtype", "f64"]).success();
        assert_eq!(json_lines(&untrained)[0]["weight"], serde_json::json!([[0.4, 0.5, 0.6]]));
    }

    #[test]
    fn learning_rates() {
        let still = json_lines(&hitofude(&["--lr", "0", "--json"]).quiet_success());
        let (last, steps) = still.split_last().unwrap();
        assert!(steps.iter().all(|line| line["output"] == 0.42 && line["loss"] == steps[0]["loss"]));
        assert_eq!(last["weight"], serde_json::json!([[0.4, 0.5, 0.6]]));
        let away = json_lines(&hitofude(&["--lr", "-0.1", "--steps", "10", "--json"]).quiet_success());
        assert!(number(&away[3]["loss"]) > number(&away[0]["loss"]));
        for rate in ["--lr=nan", "--lr=inf", "--lr=-inf"] {
            hitofude(&[rate]).refusal_with(&["--lr", "not a finite number"]);
        }
    }
}

mod arguments {
    use super::*;

    #[test]
    fn misuse() {
        for (arguments, named) in [
            (&["--bogus"][..], "--bogus"),
            (&["bogus"], "bogus"),
            (&["--steps", "many"], "--steps"),
            (&["--steps=-1"], "--steps"),
            (&["--lr", "fast"], "--lr"),
            (&["--dtype", "i32"], "--dtype"),
            (&["--dump-graph=soup"], "--dump-graph"),
            (&["--emit", "soup"], "--emit"),
            (&["--dump-graph", "--emit", "clif"], "--emit"),
            (&["--output", "somewhere"], "--dump-graph"),
            (&["fit"], "--target"),
            (&["fit", "examples/data/diabetes.csv"], "--target"),
            (&["fit", "examples/data/diabetes.csv", "--target", "progression", "-o", "somewhere"], "--emit"),
        ] {
            let run = hitofude(arguments);
            assert_eq!(run.stdout, "", "{arguments:?}");
            run.refusal_with(&[named]);
        }
    }

    #[test]
    fn help_and_version() {
        assert!(hitofude(&["--help"]).quiet_success().contains("--dump-graph"));
        assert!(hitofude(&["fit", "--help"]).quiet_success().contains("--target"));
        assert!(hitofude(&["--version"]).quiet_success().contains(env!("CARGO_PKG_VERSION")));
    }
}

mod inspection {
    use super::*;

    const STAGES: [&str; 4] =
        ["--dump-graph=forward", "--dump-graph=gradient", "--dump-graph=step", "--dump-graph=schedule"];
    /// A training step of each command.
    const COMMANDS: [&[&str]; 2] = [&[], &["fit", "examples/data/diabetes.csv", "--target", "progression"]];

    fn shown(command: &[&str], options: &[&str]) -> String {
        hitofude(&[command, options].concat()).quiet_success()
    }

    /// One graph in DOT and nothing else.
    #[track_caller]
    fn assert_dot(text: &str) {
        assert!(text.starts_with("digraph") && text.ends_with("}\n"), "{text}");
        let (mut depth, mut quoted, mut escaped, mut graphs) = (0i32, false, false, 0);
        for letter in text.chars() {
            match letter {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '{' if !quoted => depth += 1,
                '}' if !quoted => {
                    depth -= 1;
                    assert!(depth >= 0, "a brace too many closes in:\n{text}");
                    graphs += u32::from(depth == 0);
                }
                _ => {}
            }
        }
        assert_eq!((depth, quoted, graphs), (0, false, 1), "{text}");
        assert_graphviz_accepts(text);
    }

    /// Lays the graph out with Graphviz where it is installed.
    #[track_caller]
    fn assert_graphviz_accepts(text: &str) {
        let dot = Command::new("dot")
            .arg("-Tsvg")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut dot) = dot else { return };
        dot.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = dot.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }

    fn clusters(text: &str) -> Vec<&str> {
        let names = text.split("subgraph cluster_").skip(1);
        names.map(|rest| rest.split_whitespace().next().unwrap()).collect()
    }

    #[test]
    fn graphs_are_dot() {
        for command in COMMANDS {
            for stage in STAGES {
                assert_dot(&shown(command, &[stage]));
            }
            assert_eq!(shown(command, &["--dump-graph"]), shown(command, &["--dump-graph=step"]));
        }
    }

    #[test]
    fn graphs_show_their_stage() {
        assert_eq!(clusters(&shown(&[], &["--dump-graph=forward"])), ["forward"]);
        assert_eq!(clusters(&shown(&[], &["--dump-graph=gradient"])), ["forward", "gradient"]);
        for command in COMMANDS {
            let step = shown(command, &["--dump-graph=step"]);
            assert_eq!(clusters(&step), ["forward", "gradient", "update"]);
            let schedule = shown(command, &["--dump-graph=schedule"]);
            for part in ["kernel ", "reduce ", "weight", "bias", "learning_rate"] {
                assert!(schedule.contains(part), "`{part}` is not in:\n{schedule}");
            }
        }
        assert!(shown(&["--dtype", "f64"], &["--dump-graph"]).contains("f64[1,3]"));
    }

    #[test]
    fn graphs_name_the_place_of_the_caller() {
        for line in shown(COMMANDS[1], &["--dump-graph=forward"]).lines() {
            assert!(!line.contains("tooltip=\"src/ops/"), "{line}");
        }
    }

    #[test]
    fn generated_code() {
        for command in COMMANDS {
            let clif = shown(command, &["--emit", "clif"]);
            for marker in ["function u0:", "block0(", "load.f", "store", "return"] {
                assert!(clif.contains(marker), "`{marker}` is not in:\n{clif}");
            }
            let asm = shown(command, &["--emit", "asm"]);
            // Cranelift's names, and those of the code generator for wide vectors.
            assert!(
                ["block0:", "loop0:"].iter().any(|marker| asm.contains(marker)),
                "no block is in:\n{asm}"
            );
            assert!(asm.contains("ret"), "`ret` is not in:\n{asm}");
        }
        let (single, double) = (shown(&[], &["--emit=clif"]), shown(&["--dtype=f64"], &["--emit=clif"]));
        assert!(single.contains("load.f32") && !single.contains("load.f64"));
        assert!(double.contains("load.f64") && !double.contains("load.f32"));
    }

    #[test]
    fn output_files() {
        for (options, long) in [(&["--dump-graph"][..], "-o"), (&["--emit", "clif"], "--output")] {
            for command in COMMANDS {
                let file = Scratch::new();
                assert_eq!(shown(command, &[options, &[long, file.path()]].concat()), "");
                assert_eq!(std::fs::read_to_string(&file.0).unwrap(), shown(command, options));
            }
        }
        let nowhere = Scratch::new().0.join("graph.dot");
        let nowhere = nowhere.to_str().unwrap();
        hitofude(&["--dump-graph", "-o", nowhere]).refusal_with(&[nowhere]);
        let directory = env!("CARGO_TARGET_TMPDIR");
        hitofude(&["--dump-graph", "-o", directory]).refusal_with(&[directory]);
    }

    /// Every stage with its milliseconds, none above the total.
    #[track_caller]
    fn assert_timings(text: &str) {
        let milliseconds = |stage: &str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(stage));
            let cells: Vec<&str> =
                line.unwrap_or_else(|| panic!("{stage}:\n{text}")).split_whitespace().collect();
            assert_eq!((cells.len(), cells[2]), (3, "ms"), "{text}");
            cells[1].parse::<f64>().unwrap()
        };
        let total = milliseconds("total");
        for stage in ["derive", "extract", "simplify", "schedule", "lower", "cranelift"] {
            assert!((0.0..=total).contains(&milliseconds(stage)), "{text}");
        }
    }

    #[test]
    fn timings() {
        for command in COMMANDS {
            let run = hitofude(&[command, &["--timings"]].concat());
            assert_timings(&format!("{}\n{}", run.stdout, run.stderr));
            let run = hitofude(&[command, &["--timings", "--json"]].concat());
            assert_timings(&run.stderr);
            json_lines(&run.success());
            let run = hitofude(&[command, &["--timings", "--dump-graph"]].concat());
            assert_timings(&run.stderr);
            assert_dot(&run.success());
        }
    }

    #[test]
    fn profiles() {
        for command in COMMANDS {
            let text = hitofude(&[command, &["--profile"]].concat()).success();
            assert!(text.contains("GFLOP/s") && text.contains("a step"), "{text}");
            let lines = json_lines(&hitofude(&[command, &["--profile", "--json"]].concat()).success());
            let tasks = lines.last().unwrap()["profile"].as_array().unwrap();
            let shares: f64 = tasks.iter().map(|task| number(&task["share"])).sum();
            assert_near(shares, 1.0, 1e-12);
            assert!(tasks.iter().all(|task| task["sources"][0]["operator"].is_string()));
            hitofude(&[command, &["--profile", "--dump-graph"]].concat()).refusal_with(&["--profile"]);
        }
    }

    #[test]
    fn timings_go_to_one_stream() {
        let to_stdout = COMMANDS
            .map(|command| hitofude(&[command, &["--timings"]].concat()).success().contains("cranelift"));
        assert_eq!(to_stdout[0], to_stdout[1]);
    }

    #[test]
    fn the_step_shown_is_the_step_trained() {
        let text = fit("a,c,y\n1,7,3\n2,7,5\n3,7,8\n", &["--dump-graph=forward"]).success();
        for line in text.lines() {
            assert!(!line.contains("f64[3,2]"), "{line}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn output_that_cannot_be_written() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_hitofude"))
            .arg("--dump-graph")
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("cannot write") && !stderr.contains("panicked"), "{stderr}");
    }
}

mod diabetes {
    use super::*;

    /// Least squares on the raw table by numpy 2, computed once: `numpy.linalg.lstsq(x, y, rcond=None)[0]`,
    /// where `x` is the feature columns and a last column of ones.
    const LEAST_SQUARES: [(&str, f64); 11] = [
        ("age", -0.036361224223638085),
        ("sex", -22.859648090498357),
        ("bmi", 5.602962091923704),
        ("bp", 1.116807993318174),
        ("s1", -1.089996334063235),
        ("s2", 0.7464504555142195),
        ("s3", 0.3720047150891448),
        ("s4", 6.53383193599034),
        ("s5", 68.48312496478806),
        ("s6", 0.2801169893215105),
        ("intercept", -334.5671385187866),
    ];
    const R2: f64 = 0.5177484222203499;
    const MSE: f64 = 2859.69634758675;

    fn run(options: &[&str]) -> Run {
        hitofude(&[&["fit", "examples/data/diabetes.csv", "--target", "progression"], options].concat())
    }

    #[track_caller]
    fn assert_least_squares(summary: &Value, tolerance: f64) {
        let names: Vec<&str> = LEAST_SQUARES.iter().map(|row| row.0).collect();
        assert_eq!(keys(&summary["coefficients"]), names[..10], "in the table's order");
        for (name, expected) in LEAST_SQUARES {
            let got = if name == "intercept" { &summary[name] } else { &summary["coefficients"][name] };
            assert_near(number(got), expected, tolerance * expected.abs());
        }
        assert_near(number(&summary["r2"]), R2, tolerance);
        assert_near(number(&summary["mse"]), MSE, tolerance * MSE);
    }

    #[test]
    fn json_is_the_least_squares_solution() {
        for (options, tolerance) in [
            (&[][..], 1e-4),
            (&["--no-standardize"], 1e-4),
            (&["--dtype", "f64"], 1e-8),
            (&["--dtype", "f32"], 1e-3),
        ] {
            let summary = summary(run(&[options, &["--json"]].concat()));
            assert_eq!(summary["stopped"], "gradient small", "{options:?}");
            assert_least_squares(&summary, tolerance);
        }
    }

    #[test]
    fn json_of_training() {
        let mut lines = json_lines(&run(&["--json"]).quiet_success());
        let summary = lines.pop().unwrap();
        let expected = [
            "coefficients",
            "intercept",
            "r2",
            "mse",
            "steps",
            "stopped",
            "rows",
            "dropped_rows",
            "unique",
            "constant_columns",
            "ms",
        ];
        assert_eq!(keys(&summary), expected);
        assert_eq!((&summary["rows"], &summary["dropped_rows"]), (&442.into(), &0.into()));
        assert_eq!(summary["constant_columns"], serde_json::json!([]));
        assert!(lines.iter().all(|line| keys(line) == ["step", "loss", "gradient"]));
        let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
        assert!(steps.starts_with(&[0, 1, 2, 4, 8]) && steps.is_sorted(), "{steps:?}");
        assert_eq!(lines[0]["gradient"], 1.0);
        assert_near(number(&lines.last().unwrap()["loss"]), MSE, 1e-3 * MSE);
    }

    #[test]
    fn text_is_the_least_squares_solution() {
        for options in [&[][..], &["--no-standardize"]] {
            let text = run(options).quiet_success();
            assert!(text.contains("this is the least-squares solution") && text.contains("progression =\n"));
            for (name, expected) in &LEAST_SQUARES[..10] {
                let coefficient = text.lines().find_map(|line| {
                    let (coefficient, of) = line.split_once(" · ")?;
                    (of.trim() == *name).then(|| coefficient.trim().parse::<f64>().unwrap())
                });
                assert_near(coefficient.unwrap(), *expected, 1e-4 * expected.abs());
            }
            for part in [" -334.567", "R² 0.5177", "2859.69", "442 rows"] {
                assert!(text.contains(part), "`{part}` is not in:\n{text}");
            }
        }
    }

    #[test]
    fn too_few_steps_are_said() {
        let text = run(&["--steps", "3"]).quiet_success();
        assert!(text.contains("stopped after 3 steps: the steps ran out"), "{text}");
        assert_eq!(steps_shown(&text), [0, 1, 2]);
        let summary = summary(run(&["--steps", "3", "--json"]));
        assert_eq!((&summary["steps"], &summary["stopped"]), (&3.into(), &"steps exhausted".into()));
        assert!(number(&summary["r2"]) < R2);
        let mean_only = self::summary(run(&["--steps", "0", "--json"]));
        assert_near(number(&mean_only["r2"]), 0.0, 1e-12);
    }

    #[test]
    fn columns_can_be_left_out() {
        let summary = summary(run(&["--ignore", "sex", "--ignore", "s4", "--json"]));
        assert_eq!(keys(&summary["coefficients"]), ["age", "bmi", "bp", "s1", "s2", "s3", "s5", "s6"]);
        assert!(number(&summary["r2"]) < R2);
    }
}

/// Tables from which y = 1 + 2a is to be read, whatever the file looks like.
mod accepted {
    use super::*;

    const PLAIN: &str = "a,y\n1,3\n2,5\n3,7\n4,9\n";

    #[track_caller]
    fn assert_line(table: impl AsRef<[u8]>, options: &[&str]) {
        let summary = summary(fit(table, &[options, &["--json"]].concat()));
        assert_eq!(keys(&summary["coefficients"]), ["a"]);
        assert_near(number(&summary["coefficients"]["a"]), 2.0, 1e-9);
        assert_near(number(&summary["intercept"]), 1.0, 1e-9);
    }

    #[test]
    fn forms_of_text() {
        assert_line(PLAIN, &[]);
        assert_line(PLAIN.trim_end(), &[]);
        assert_line(format!("\u{feff}{PLAIN}"), &[]);
        assert_line("\u{feff}\"a\",\"y\"\n1,3\n2,5\n", &[]);
        assert_line(PLAIN.replace('\n', "\r\n"), &[]);
        assert_line(PLAIN.replace('\n', "\n\n"), &[]);
        assert_line(PLAIN.replace(',', " ,\t"), &[]);
        assert_line("a,y\n\"1\",3e0\n+2,\"5\"\n3.0,7.\n", &[]);
    }

    #[test]
    fn quoted_names() {
        let file = Scratch::with("\"size, in m\",\"the \"\"price\"\"\",größe\n1,3,1\n2,5,0\n3,7,5\n");
        let run = |options: &[&str]| {
            let fixed = ["fit", file.path(), "--target", "the \"price\"", "--ignore", "größe"];
            hitofude(&[&fixed, options].concat()).success()
        };
        let summary = json_lines(&run(&["--json"])).pop().unwrap();
        assert_eq!(keys(&summary["coefficients"]), ["size, in m"]);
        assert_near(number(&summary["coefficients"]["size, in m"]), 2.0, 1e-9);
        assert!(run(&[]).contains("the \"price\" =\n"));
        hitofude(&["fit", file.path(), "--target", "größe", "--ignore", "size, in m", "--json"]).success();
    }

    #[test]
    fn ignored_columns_are_not_looked_at() {
        assert_line(
            "city,a,y,z\nKyoto,1,3,\nNara,2,5,nan\n,3,7,inf\n",
            &["--ignore", "city", "--ignore", "z"],
        );
    }

    #[test]
    fn rows_with_missing_values_can_be_dropped() {
        let table = "a,y\n1,3\n,9\n2,5\nNaN,1\n3,7\n4,NA\n8,nan\n";
        assert_line(table, &["--drop-missing"]);
        let summary = summary(fit(table, &["--drop-missing", "--json"]));
        assert_eq!((&summary["rows"], &summary["dropped_rows"]), (&3.into(), &4.into()));
        assert!(
            fit(table, &["--drop-missing"]).success().contains("4 rows with missing values were left out")
        );
        assert!(!fit(PLAIN, &["--drop-missing"]).success().contains("left out"));
        assert_file_refused("a,y\n1,3\n,4\nx,5\n", &["--drop-missing"], &["row 3", "`a`", "`x`"]);
    }

    #[test]
    fn negative_nan_is_missing() {
        assert_line("a,y\n1,3\n-nan,9\n2,5\n", &["--drop-missing"]);
    }

    #[test]
    fn constant_features_explain_nothing() {
        let table = "a,c,y\n1,0.1,3\n2,0.1,5\n3,0.1,7\n4,0.1,9\n";
        for options in [&["--json"][..], &["--json", "--no-standardize"]] {
            let summary = summary(fit(table, options));
            assert_eq!(summary["coefficients"]["c"], 0.0);
            assert_eq!(summary["constant_columns"], serde_json::json!(["c"]));
            assert_near(number(&summary["coefficients"]["a"]), 2.0, 1e-9);
        }
        let text = fit(table, &[]).success();
        let line = text.lines().find(|line| line.contains("· c")).unwrap();
        assert!(line.contains("+0.00000000") && line.contains("(constant column)"), "{line}");
    }

    #[test]
    fn twin_features_share() {
        let table = "a,b,y\n1,1,3\n2,2,5\n3,3,7\n4,4,9\n";
        for options in [&["--json"][..], &["--json", "--no-standardize"]] {
            let summary = summary(fit(table, options));
            let [a, b] = ["a", "b"].map(|name| number(&summary["coefficients"][name]));
            assert_near(a + b, 2.0, 1e-9);
            assert_near(number(&summary["intercept"]), 1.0, 1e-9);
            assert_near(number(&summary["r2"]), 1.0, 1e-12);
        }
    }

    /// Three features, two samples.
    const WIDE: &str = "a,b,c,y\n1,2,4,3\n2,7,1,5\n";

    #[test]
    fn more_columns_than_rows() {
        let summary = summary(fit(WIDE, &["--json"]));
        let predict = |row: [f64; 3]| {
            let terms = ["a", "b", "c"].iter().zip(row);
            let terms = terms.map(|(&name, x)| number(&summary["coefficients"][name]) * x);
            terms.sum::<f64>() + number(&summary["intercept"])
        };
        assert_near(predict([1.0, 2.0, 4.0]), 3.0, 1e-9);
        assert_near(predict([2.0, 7.0, 1.0]), 5.0, 1e-9);
        let text = fit(WIDE, &[]).success();
        assert!(text.contains("no more rows than coefficients: other coefficients fit as well"), "{text}");
    }

    #[test]
    fn unfinished_fits_are_not_the_smallest() {
        let text = fit(WIDE, &["--steps", "1"]).success();
        assert!(text.contains("ran out") && !text.contains("this is the smallest"), "{text}");
    }

    #[test]
    fn constant_columns_do_not_make_many_fits() {
        let text = fit("a,b,c,y\n1,2,7,3\n2,7,7,5\n3,1,7,9\n", &[]).success();
        assert!(!text.contains("many fits are as good"), "{text}");
    }

    #[test]
    fn small_coefficients_are_printed_with_digits() {
        let table = "a,y\n1e9,1\n2e9,2\n3e9,4\n4e9,4\n";
        let exact = number(&summary(fit(table, &["--json"]))["coefficients"]["a"]);
        assert_near(exact, 1.1e-9, 1e-15);
        let text = fit(table, &[]).success();
        let printed = text.lines().find_map(|line| line.strip_suffix(" · a")).unwrap();
        assert_near(printed.trim().parse().unwrap(), exact, 1e-4 * exact);
    }
}

mod refused {
    use super::*;

    #[test]
    fn unreadable_files() {
        let nowhere = Scratch::new();
        nowhere.fit(&[]).refusal_with(&[nowhere.path(), "No such file"]);
        let directory = env!("CARGO_TARGET_TMPDIR");
        hitofude(&["fit", directory, "--target", "y"]).refusal_with(&[directory, "directory"]);
        assert_file_refused(b"a,stra\xdfe,y\n1,2,3\n2,3,5\n", &[], &["UTF-8"]);
    }

    #[test]
    fn headers() {
        for empty in ["", "\n\n", "\u{feff}", "\r\n"] {
            assert_file_refused(empty, &[], &["empty"]);
        }
        assert_file_refused("1,2\n3,4\n5,7\n", &[], &["first line", "numbers only", "header"]);
        assert_file_refused("a,b,a,y\n1,2,3,4\n2,3,3,1\n", &[], &["two columns", "`a`"]);
        assert_file_refused("a, a,y\n1,2,3\n2,3,3\n", &[], &["two columns", "`a`"]);
        assert_file_refused("a,b,y\n1,2,3\n", &["--ignore", "c"], &["`c`", "`a`, `b`, `y`"]);
    }

    #[test]
    fn unknown_targets() {
        let table = "a,b,z\n1,2,3\n2,3,5\n";
        for options in [&[][..], &["--json"], &["--dump-graph"], &["--emit", "asm"]] {
            let run = fit(table, options);
            assert_eq!(run.stdout, "");
            run.refusal_with(&["no column `y`", "`a`, `b`, `z`"]);
        }
        let ignored = fit("a,b,y\n1,2,3\n2,3,5\n", &["--ignore", "y"]);
        ignored.refusal_with(&["no column `y`", "`a`, `b`"]);
    }

    #[test]
    fn cells() {
        for (cell, problem) in [
            ("Kyoto", "`Kyoto` is not a number"),
            ("1 000", "`1 000` is not a number"),
            ("\"1,5\"", "`1,5` is not a number"),
            ("0x10", "`0x10` is not a number"),
            ("", "missing value"),
            ("NaN", "missing value"),
            ("nan", "missing value"),
            ("NA", "missing value"),
            ("inf", "`inf` is not finite"),
            ("-Infinity", "`-Infinity` is not finite"),
            ("1e999", "`1e999` is not finite"),
        ] {
            assert_file_refused(
                format!("a,b,y\n1,2,3\n2,{cell},4\n3,3,5\n"),
                &[],
                &["row 2", "`b`", problem],
            );
            assert_file_refused(
                format!("a,b,y\n1,2,3\n2,1,4\n3,3,{cell}\n"),
                &[],
                &["row 3", "`y`", problem],
            );
        }
        assert_file_refused("a,y\n1,2\n,3\n", &[], &["--drop-missing"]);
        assert_file_refused("a,city,y\n1,Kyoto,2\n", &[], &["row 1", "--ignore city"]);
        assert_file_refused("a,y\n1,inf\n2,3\n", &["--drop-missing"], &["row 1", "`y`", "not finite"]);
    }

    #[test]
    fn ragged_rows() {
        assert_file_refused("a,b,y\n1,2,3\n4,5\n6,7,8\n", &[], &["row 2", "2 cells", "header 3"]);
        assert_file_refused("a,y\n1,2\n6,7\n4,5,6\n", &["--drop-missing"], &["row 3", "3 cells", "header 2"]);
    }

    #[test]
    fn rows_are_named_by_their_line() {
        assert_file_refused("a,y\n\n1,3\n\n2,x\n", &[], &["line 5", "`y`"]);
    }

    #[test]
    fn advice_can_be_copied() {
        let message = fit("a,home town,y\n1,Kyoto,2\n", &[]).refusal();
        assert!(["'home town'", "\"home town\""].iter().any(|name| message.contains(name)), "{message}");
    }

    #[test]
    fn semicolons_between_cells() {
        for separator in [";", "\t"] {
            let table = "a;y\n1;3\n2;5\n".replace(';', separator);
            assert_near(number(&summary(fit(&table, &["--json"]))["coefficients"]["a"]), 2.0, 1e-9);
        }
    }

    /// Tables that can be read, but not fitted.
    const UNFIT: [(&str, &[&str]); 6] = [
        ("a,y\n1,2\n", &["at least two"]),
        ("a,y\n1,2\n2,2\n3,2\n", &["`y`", "constant"]),
        ("y\n1\n2\n", &["no column beside `y`"]),
        ("c,y\n7,1\n7,2\n", &["no column beside `y`"]),
        ("a,y\n", &[]),
        ("a,y\n,1\n2,\n", &[]),
    ];

    #[test]
    fn tables_that_cannot_be_fitted() {
        for (table, parts) in UNFIT {
            for option in ["--timings", "--json", "--no-standardize"] {
                fit(table, &["--drop-missing", option]).refusal_with(parts);
            }
        }
    }

    #[test]
    fn unfit_tables_are_named() {
        for (table, parts) in UNFIT {
            assert_file_refused(table, &["--drop-missing"], parts);
        }
        assert_file_refused("a,b,z\n1,2,3\n2,3,5\n", &[], &["no column `y`"]);
    }

    #[test]
    fn tables_without_rows_are_said_to_have_none() {
        for table in ["a,y\n", "a,y\n,1\n2,\n"] {
            let message = fit(table, &["--drop-missing"]).refusal();
            assert!(message.contains("row") && !message.contains("src/"), "{message}");
        }
    }

    #[test]
    fn unfit_tables_leave_stdout_empty() {
        for (table, _) in UNFIT {
            assert_eq!(fit(table, &["--drop-missing"]).stdout, "", "{table}");
        }
    }
}

/// Numbers at the ends of the range of f64.
mod extremes {
    use super::*;

    /// Tables of three rows with their slopes.
    const TABLES: [(&str, f64); 5] = [
        ("a,y\n1e300,1\n2e300,2\n3e300,4\n", 1.5e-300),
        ("a,y\n1,1e300\n2,2e300\n3,4e300\n", 1.5e300),
        ("a,y\n1e300,1e300\n2e300,2e300\n3e300,4e300\n", 1.5),
        ("a,y\n-1.7e308,1\n1e-308,2\n1.7e308,4\n", 1.5 / 1.7e308),
        ("a,y\n1e-300,1\n2e-300,2\n3e-300,4\n", 1.5e300),
    ];
    const OPTIONS: [&[&str]; 4] =
        [&[], &["--no-standardize"], &["--dtype", "f32"], &["--dtype", "f32", "--no-standardize"]];

    #[test]
    fn never_a_panic() {
        for (table, _) in TABLES {
            for options in OPTIONS {
                for json in [&[][..], &["--json"]] {
                    let run = fit(table, &[options, json].concat());
                    assert!(matches!(run.code, Some(0 | 2)), "{table}{options:?}: {:?}", run.code);
                    assert_eq!(run.code == Some(2), !run.stderr.is_empty(), "{table}{options:?}");
                }
            }
        }
    }

    /// A fit with the right slope, one that says it is unfinished, or an error.
    #[track_caller]
    fn assert_right_or_refused(table: &str, slope: f64, options: &[&str]) {
        let run = fit(table, &[options, &["--json"]].concat());
        if run.code == Some(2) {
            return;
        }
        let summary = summary(run);
        if summary["stopped"] == "gradient small" {
            assert_near(number(&summary["coefficients"]["a"]), slope, 1e-3 * slope);
        }
    }

    #[test]
    fn standardised_fits_are_right_or_refused() {
        for (table, slope) in TABLES {
            for options in [&[][..], &["--dtype", "f32"]] {
                assert_right_or_refused(table, slope, options);
            }
        }
    }

    #[test]
    fn fits_of_raw_numbers_are_right_or_refused() {
        for (table, slope) in TABLES.into_iter().chain([("a,y\n1e-13,1\n2e-13,2\n3e-13,4\n", 1.5e13)]) {
            for options in [&["--no-standardize"][..], &["--no-standardize", "--dtype", "f32"]] {
                assert_right_or_refused(table, slope, options);
            }
        }
    }

    #[test]
    fn large_but_harmless() {
        for scale in ["e100", "e-100", "e12"] {
            let table = format!("a,y\n1{scale},1\n2{scale},2\n3{scale},4\n4{scale},4\n");
            let summary = summary(fit(table, &["--json"]));
            let slope = number(&summary["coefficients"]["a"]) * format!("1{scale}").parse::<f64>().unwrap();
            assert_near(slope, 1.1, 1e-9);
            assert_near(number(&summary["intercept"]), 0.0, 1e-9);
        }
        let far = "a,y\n100000001,3\n100000002,5\n100000003,7\n";
        assert_near(number(&summary(fit(far, &["--json"]))["coefficients"]["a"]), 2.0, 1e-6);
    }
}
