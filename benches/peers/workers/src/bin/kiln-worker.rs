//! kiln on the model file that follows FOLDER and THREADS, with its `-D NAME=VALUE`, and `weights.safetensors`.

use anyhow::{Context, Result};
use kiln::weights::WeightFile;
use kiln::{Model, Options};
use peer_workers::{Request, serve};

fn main() -> Result<()> {
    serve("kiln", env!("CARGO_PKG_VERSION"), |request: &Request| {
        let mut arguments = std::env::args().skip(3);
        let mut model = Model::load(arguments.next().context("which model file?")?)?;
        for define in arguments.filter(|argument| argument != "-D") {
            let (name, value) = define.split_once('=').context("-D takes NAME=VALUE")?;
            model = model.define(name, value);
        }
        let weights = WeightFile::open(request.folder.join("weights.safetensors"))?;
        let options = Options { threads: request.threads, ..Options::default() };
        let mut executable = model.compile(weights, &options)?;
        let image = [request.image.clone()];
        Ok(move || Ok(executable.run(&image)?.remove(0)))
    })
}
