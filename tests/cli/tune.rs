//! `tune`, and what other commands make of its file.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Run, Workspace, kiln, kiln_with_cache, npy_values};

const MODEL: &str = "model two() {
  input image: f32[1, 64, 16, 16]
  x = image -> conv(64, 3, padding = 1) -> relu
  output y = x -> depthwise_conv(3, padding = 1) -> conv(32, 1)
}";

const CONV: &str = "conv_ic64ih16iw16oc64oh16ow16kh3kw3ph1pw1";
const PAIR: &str = "depthwise_pointwise_ic64ih16iw16oc32oh16ow16kh3kw3ph1pw1";

/// Choices that no model of the core would make.
fn odd_choices() -> Value {
    let tile = json!({"rows": 1, "columns": 2, "vectors": 1});
    let blocking = json!({"pixels": 5, "channels": 64});
    json!({
        CONV: {"algorithm": "direct", "tile": tile, "arithmetic": "straight", "blocking": blocking, "order": "panels"},
        PAIR: {"algorithm": "separate"},
    })
}

/// A tuning file for baseline code on this machine.
fn tuning_file(choices: &Value) -> Value {
    let machine = kiln("machine --isa baseline --threads 1 --json").json()[0].clone();
    let entry = json!({"cpu": machine["cpu"], "isa": "baseline", "problems": choices});
    json!({"version": machine["version"], "machines": [entry]})
}

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("two.kiln", MODEL);
    workspace
}

/// Runs in the workspace, with its own folder `cache`.
fn kiln_cached(workspace: &Workspace, words: &str) -> Run {
    kiln_with_cache(&workspace.path("cache"), &workspace.path("."), words)
}

/// The kernels that are run.
fn kernels(run: Run) -> String {
    let json = run.json();
    let names = json["kernels"].as_array().unwrap().iter();
    names.map(|kernel| kernel["kernel"].as_str().unwrap().to_owned() + "\n").collect()
}

const PROFILE: &str = "profile two.kiln --isa baseline --threads 1 --seconds 0 --json";

#[test]
fn what_tune_finds_is_taken_from_then_on() {
    let workspace = workspace();
    let options = "two.kiln --isa baseline --threads 1";
    let report = kiln_cached(&workspace, &format!("tune {options} --seconds 0.2 --json")).json();
    let file: Value =
        serde_json::from_slice(&std::fs::read(workspace.path("cache/kiln/tuning.json")).unwrap()).unwrap();
    let remembered = file["machines"][0]["problems"].as_object().unwrap();
    let problems = report["problems"].as_array().unwrap();
    let names: Vec<&Value> = problems.iter().map(|problem| &problem["problem"]).collect();
    assert_eq!(names, [CONV, PAIR]);
    for problem in problems {
        let name = problem["problem"].as_str().unwrap();
        assert_eq!(problem["new"], remembered.get(name).cloned().unwrap_or(Value::Null), "{problem}");
        assert!(problem["candidates"].as_u64().unwrap() > 3, "{problem}");
    }
    for key in ["before_ms", "after_ms", "speedup"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key} is not in {report}");
    }
    kiln_cached(&workspace, &format!("run {options} --random-weights 1")).ok();
    let text = kiln_cached(&workspace, &format!("tune {options} --seconds 0")).ok();
    for part in ["2 problems", "a run takes", "remembered in", "tuning.json"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn choices_come_from_the_cache_or_from_the_file_that_is_named() {
    let workspace = workspace();
    std::fs::create_dir_all(workspace.path("cache/kiln")).unwrap();
    let file = tuning_file(&odd_choices()).to_string();
    let untuned = kernels(kiln_cached(&workspace, PROFILE));
    assert!(untuned.contains("depthwise_pointwise_") && !untuned.contains("_t1x2x1_b5x64"), "{untuned}");
    workspace.write("named.json", &file);
    let named = kernels(kiln_cached(&workspace, &format!("{PROFILE} --tuning named.json")));
    assert!(named.contains(&format!("{CONV}_relu_t1x2x1_b5x64_")), "{named}");
    assert!(named.contains("\ndepthwise_g64ic64") && !named.contains("depthwise_pointwise_"), "{named}");
    workspace.write("cache/kiln/tuning.json", &file);
    assert_eq!(kernels(kiln_cached(&workspace, PROFILE)), named);
    assert_eq!(kernels(kiln_cached(&workspace, &format!("{PROFILE} --tuning none"))), untuned);
    // Whatever the number of threads, which cuts only the grids of kernels that nothing was chosen for.
    let two = kernels(kiln_cached(&workspace, &PROFILE.replace("--threads 1", "--threads 2")));
    assert!(two.contains(&format!("{CONV}_relu_t1x2x1_b5x64_")), "{two}");
    assert!(two.contains("\ndepthwise_g64ic64") && !two.contains("depthwise_pointwise_"), "{two}");
    // Of another processor's choices nothing is taken.
    let elsewhere = file.replace("\"cpu\":\"", "\"cpu\":\"another ");
    workspace.write("cache/kiln/tuning.json", &elsewhere);
    assert_eq!(kernels(kiln_cached(&workspace, PROFILE)), untuned);
}

#[test]
fn tuned_answers_are_right_and_the_same_on_any_number_of_threads() {
    let workspace = workspace();
    workspace.write("odd.json", tuning_file(&odd_choices()).to_string());
    let answer = |options: &str| {
        let words = format!("run two.kiln --random-weights 1 --isa baseline --output y.npy {options}");
        kiln_cached(&workspace, &words).ok();
        npy_values(&workspace.path("y.npy"))
    };
    let tuned = answer("--threads 1 --tuning odd.json");
    assert_eq!(tuned, answer("--threads 3 --tuning odd.json"));
    let reference = answer("--backend interpreter");
    let largest = reference.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let far = tuned.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(far <= 1e-4 * largest, "{far} of {largest}");
}

/// Files that hold no choices for this program.
fn useless_files() -> Vec<(String, &'static str)> {
    let good = tuning_file(&odd_choices());
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut file = good.clone();
        change(&mut file);
        file.to_string()
    };
    let tile = |rows: Value| {
        changed(&move |file| file["machines"][0]["problems"][CONV]["tile"]["rows"] = rows.clone())
    };
    vec![
        (String::new(), "no tuning file"),
        ("{\"machines\": ".to_owned(), "no tuning file"),
        (changed(&|file| file["version"] = "0.0.0".into()), "measured with kiln 0.0.0"),
        (json!({"version": "0.0.0", "other": true}).to_string(), "measured with kiln 0.0.0"),
        (changed(&|file| file["extra"] = 1.into()), "no tuning file"),
        (tile(0.into()), "impossible"),
        (tile(4_000_000_000_u64.into()), "impossible"),
        (tile((-1).into()), "no tuning file"),
    ]
}

#[test]
fn useless_files_are_errors_where_named_and_warnings_elsewhere() {
    let workspace = workspace();
    std::fs::create_dir_all(workspace.path("cache/kiln")).unwrap();
    for (file, problem) in useless_files() {
        workspace.write("bad.json", &file);
        let run = "run two.kiln --random-weights 1 --isa baseline --threads 1";
        kiln_cached(&workspace, &format!("{run} --tuning bad.json")).blames(&["bad.json", problem]);
        kiln_cached(&workspace, "tune two.kiln --seconds 0 --output bad.json").blames(&["bad.json", problem]);
        assert_eq!(std::fs::read_to_string(workspace.path("bad.json")).unwrap(), file, "left as it was");
        workspace.write("cache/kiln/tuning.json", &file);
        let ignored = kiln_cached(&workspace, run);
        assert!(
            ignored.stderr.contains("warning: ") && ignored.stderr.contains(problem),
            "{}",
            ignored.stderr
        );
        ignored.ok();
    }
    kiln_cached(&workspace, "run two.kiln --random-weights 1 --tuning absent.json").blames(&["absent.json"]);
}

/// Choices that do not fit the problem that they are filed under are left out.
#[test]
fn choices_of_another_kind_are_not_made() {
    let workspace = workspace();
    let pair = json!({"algorithm": "depthwise", "columns": 3, "rows": 1});
    let choices = json!({CONV: {"algorithm": "separate"}, PAIR: pair, "conv_ic1": {"algorithm": "separate"}});
    workspace.write("odd.json", tuning_file(&choices).to_string());
    let tuned = kernels(kiln_cached(&workspace, &format!("{PROFILE} --tuning odd.json")));
    assert_eq!(tuned, kernels(kiln_cached(&workspace, &format!("{PROFILE} --tuning none"))));
}

#[test]
fn tune_begins_untuned_and_needs_a_place() {
    let workspace = workspace();
    let usage = kiln_cached(&workspace, "tune two.kiln --tuning none").fails(2);
    assert!(usage.contains("beginning untuned"), "{usage}");
    workspace.write("file", "");
    kiln_cached(&workspace, "tune two.kiln --seconds 0 --output file/t.json").blames(&["file/t.json"]);
    assert!(!Path::new(&workspace.path("cache/kiln/tuning.json")).exists());
}
