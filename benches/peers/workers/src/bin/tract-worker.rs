//! tract on `net.onnx`, as its examples load it: declutter, optimise, run.

use anyhow::Result;
use kiln::Tensor as Image;
use kiln::tensor::Shape;
use peer_workers::{Request, serve};
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    serve("tract", "0.23.9", |request: &Request| {
        if request.threads > 1 {
            let executor = tract_linalg::multithread::Executor::multithread(request.threads);
            tract_linalg::multithread::set_default_executor(executor);
        }
        let model = tract_onnx::onnx()
            .model_for_path(request.folder.join("net.onnx"))?
            .into_optimized()?
            .into_runnable()?;
        let image = Tensor::from_shape(request.image.shape().dims(), request.image.data())?;
        Ok(move || {
            let outputs = model.run(tvec!(image.clone().into()))?;
            let answer = outputs[0].to_plain_array_view::<f32>()?;
            Ok(Image::new(Shape::new(answer.shape()), answer.iter().copied().collect()))
        })
    })
}
