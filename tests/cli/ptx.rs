//! `kiln ptx`, and commands that ask for a GPU.

use crate::support::{Workspace, kiln};

#[test]
fn every_target_gets_the_oldest_ptx_that_knows_it() {
    for (target, isa) in [
        ("sm_70", "6.0"),
        ("sm_75", "6.3"),
        ("sm_80", "7.0"),
        ("sm_86", "7.1"),
        ("sm_89", "7.8"),
        ("sm_90", "7.8"),
    ] {
        let text = kiln(&format!("ptx models/digits.kiln --target {target}")).ok();
        assert!(text.starts_with(&format!(".version {isa}\n.target {target}\n.address_size 64\n")), "{text}");
    }
}

#[test]
fn the_plan_names_kernels_of_the_text_and_bytes_of_the_blob() {
    let workspace = Workspace::with_small_model();
    let files = "-o small.ptx --plan small.json --weights-blob small.bin";
    workspace.kiln(&format!("ptx small.kiln --target sm_80 --random-weights 1 {files}")).ok();
    let read = |name: &str| std::fs::read(workspace.path(name)).unwrap();
    let text = String::from_utf8(read("small.ptx")).unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&read("small.json")).unwrap();
    assert_eq!((&plan["format"], &plan["version"]), (&"kiln-ptx-plan".into(), &1.into()));
    assert_eq!(plan["weights_bytes"], read("small.bin").len());
    let launches = plan["launches"].as_array().unwrap();
    assert!(!launches.is_empty());
    for launch in launches {
        let entry = format!(".visible .entry {}(", launch["kernel"].as_str().unwrap());
        assert!(text.contains(&entry), "{entry}");
        for argument in launch["arguments"].as_array().unwrap() {
            let end = argument["offset"].as_u64().unwrap() + argument["bytes"].as_u64().unwrap();
            let block = format!("{}_bytes", argument["memory"].as_str().unwrap());
            assert!(end <= plan[&block].as_u64().unwrap(), "{argument} of {plan}");
        }
    }
}

#[test]
fn what_no_gpu_takes_is_refused_and_leaves_no_file() {
    let workspace = Workspace::with_small_model();
    let ptx = |options: &str| workspace.kiln(&format!("ptx small.kiln --random-weights 1 {options}"));
    ptx("--target sm_61 -o out.ptx").blames(&["sm_61", "sm_70"]);
    ptx("--target sm_90a -o out.ptx").blames(&[
        "sm_90a",
        "sm_70, sm_75",
        "help: devices of sm_90a run",
        "sm_90\n",
    ]);
    ptx("--target sm_120 -o out.ptx").blames(&["sm_120", "for sm_90\n"]);
    ptx("--target volta -o out.ptx").blames(&["'volta'", "sm_70"]);
    ptx("--target sm_75 --precision tf32 -o out.ptx").blames(&["sm_75", "tf32", "sm_80"]);
    ptx("--target sm_70 --precision f16 -o out.ptx").blames(&["sm_70", "f16", "sm_75"]);
    ptx("--target sm_80 -o none/out.ptx").blames(&["none/out.ptx"]);
    ptx("--target sm_80 -o out.ptx --plan none/plan.json").blames(&["none/plan.json"]);
    ptx("--target sm_80 -o out.ptx --plan out.ptx").blames(&["out.ptx", "two"]);
    workspace.write(
        "far.kiln",
        "model far() {\n  input photo: f32[1, 64, 8, 8]\n  output y = photo -> conv(4, 3, padding = 40000, stride = 40000)\n}\n",
    );
    workspace.kiln("ptx far.kiln --target sm_80 -o out.ptx").blames(&["conv", "40000"]);
    assert!(!workspace.path("out.ptx").exists());
}

#[test]
fn an_estimate_says_that_it_is_one() {
    let text = kiln("ptx models/digits.kiln --target sm_90 --estimate").ok();
    assert!(text.contains("nothing was measured") && text.contains("H100"), "{text}");
    assert!(!text.contains(".version"), "{text}");
}

#[test]
fn without_a_gpu_commands_say_so_in_a_sentence() {
    for command in ["run", "bench --seconds 0", "profile --seconds 0"] {
        let run = kiln(&format!("{command} models/digits.kiln --backend cuda"));
        // On a machine with a GPU the answer is there instead.
        if run.code != Some(0) {
            let message = run.fails(3);
            assert_eq!(message.trim().lines().count(), 1, "{message}");
            assert!(message.contains("NVIDIA"), "{message}");
        }
    }
}
