//! A model with everything that its weights were trained with, as the scripts in `models/install` write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Error;

/// What a settings file says; its paths are relative to its own folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub model: PathBuf,
    pub weights: PathBuf,
    pub labels: Option<PathBuf>,
    /// Values for the model's parameters.
    #[serde(default)]
    pub define: BTreeMap<String, String>,
    /// What is subtracted from each channel of a picture, and what it is then divided by.
    pub mean: Option<Vec<f32>>,
    pub std: Option<Vec<f32>>,
}

/// The models that are taken where none is named, the better first.
const USUAL: [&str; 2] = ["mobilenet_v2.json", "mobilenet_v1.json"];

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    /// Where the file cannot be read or is not such a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = crate::io::read_text(path)?;
        let mut settings: Settings = serde_json::from_str(&text)
            .map_err(|error| Error::file(path, format!("not the settings of a model: {error}")))?;
        let factors = settings.mean.iter().chain(&settings.std).flatten();
        if factors.chain(&[0.0]).any(|factor| !factor.is_finite())
            || settings.std.iter().flatten().any(|&factor| factor == 0.0)
        {
            return Err(Error::file(path, "a mean is no finite number, or a std none but 0"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut settings.model, &mut settings.weights].into_iter().chain(&mut settings.labels) {
            *file = folder.join(&*file);
        }
        Ok(settings)
    }

    /// The model that is installed: in the folder that `KILN_MODELS` names, or else in `models/installed`.
    ///
    /// # Errors
    /// Where none is; the message says how to install one.
    pub fn installed() -> Result<Self, Error> {
        let folder = std::env::var_os("KILN_MODELS").map_or_else(|| "models/installed".into(), PathBuf::from);
        let path = USUAL.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let path = path.ok_or_else(|| {
            Error::input(format!(
                "no model is installed in '{}': 'python3 models/install/mobilenet_v2.py' installs one; or pass \
                 --model NET.kiln",
                folder.display()
            ))
        })?;
        Settings::load(&path)
    }
}
