//! The one network whose trained weights are in the repository, on digits that its training never saw.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::io::npy::NpyFile;
use kiln::{Model, Options, Tensor, Weights};

#[test]
fn at_least_97_percent_of_held_out_digits_are_right() {
    let images = array("digits_test_images.npy");
    let labels = array("digits_test_labels.npy");
    let count = labels.shape().elements();
    assert_eq!(images.shape().dims(), [count, 1, 8, 8]);

    let model = Model::load(models("digits.kiln")).unwrap().define("batch", count);
    let weights = Weights::load(models("digits.safetensors")).unwrap();
    let logits = model.compile(&weights, &Options::default()).unwrap().run(&[images]).unwrap().remove(0);

    let right =
        logits.data().chunks(10).zip(labels.data()).filter(|(row, label)| top(row) == **label as usize);
    let accuracy = right.count() as f64 / count as f64;
    assert!(accuracy >= 0.97, "{accuracy}");
}

#[test]
fn the_pictures_are_recognised_from_the_command_line() {
    for digit in 0..10 {
        let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .arg("run")
            .arg(models("digits.kiln"))
            .arg("--input")
            .arg(models(&format!("digits/{digit}.png")))
            .args(["--top", "1", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["outputs"][0]["top"][0][0]["class"], digit, "{document:#}");
    }
}

fn top(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

fn array(file: &str) -> Tensor {
    NpyFile::open(&models(file)).unwrap().read().unwrap()
}

fn models(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file)
}
