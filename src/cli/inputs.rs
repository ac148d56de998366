//! The arrays that a model is run on: from `.npy` files, pictures, or random.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::Error;
use crate::graph::Graph;
use crate::io::image::{self, Preprocess, Resize};
use crate::io::npy::NpyFile;
use crate::tensor::{Shape, Tensor};
use crate::weights::random_input;

/// What the model is run on.
#[derive(Args)]
pub struct InputArgs {
    /// A .npy array in the model's own shape, or a PNG or JPEG picture; by position or name [default: random]
    #[arg(long, short, value_name = "[NAME=]FILE")]
    input: Vec<String>,
    /// Seed of inputs that are not given
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    input_seed: u64,
}

/// How pictures become arrays.
#[derive(Args)]
#[command(next_help_heading = "Pictures")]
pub struct PictureArgs {
    /// Resize first: N for the shorter side, HEIGHTxWIDTH, or none [default: such that the crop is 224/256
    /// of the shorter side; for an input of one channel exactly to its size]
    #[arg(long, value_name = "SIZE", value_parser = parse_resize)]
    resize: Option<Resize>,
    /// Then cut out the centre: N, HEIGHTxWIDTH, or none; what is not the input's size is resized to it
    /// [default: the input's size; none for an input of one channel]
    #[arg(long, value_name = "SIZE", value_parser = parse_crop)]
    crop: Option<Crop>,
    /// Multiply pixels, which are in [0, 1], by this
    #[arg(long, value_name = "FACTOR", value_parser = parse_factor)]
    scale: Option<f32>,
    /// Then subtract this, one value or one for each channel [default: 0.485,0.456,0.406; 0 for one channel]
    #[arg(long, value_name = "M,M,M", value_delimiter = ',', allow_hyphen_values = true, value_parser = parse_finite)]
    mean: Option<Vec<f32>>,
    /// Then divide by this [default: 0.229,0.224,0.225; 1 for one channel]
    #[arg(long, value_name = "S,S,S", value_delimiter = ',', value_parser = parse_factor)]
    std: Option<Vec<f32>>,
}

#[derive(Clone, Copy)]
struct Crop(Option<[u32; 2]>);

fn parse_resize(text: &str) -> Result<Resize, String> {
    match (text, text.split_once('x')) {
        ("none", _) => Ok(Resize::None),
        (_, Some(_)) => parse_size(text).map(Resize::Exact),
        _ => parse_extent(text).map(Resize::Shorter),
    }
}

fn parse_crop(text: &str) -> Result<Crop, String> {
    if text == "none" { Ok(Crop(None)) } else { parse_size(text).map(|size| Crop(Some(size))) }
}

fn parse_size(text: &str) -> Result<[u32; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    Ok([parse_extent(height)?, parse_extent(width)?])
}

fn parse_extent(text: &str) -> Result<u32, String> {
    let extent = text.parse().ok().filter(|extent| (1..=16384).contains(extent));
    extent.ok_or_else(|| format!("'{text}' is no size from 1 to 16384"))
}

fn parse_finite(text: &str) -> Result<f32, String> {
    let value = text.trim().parse().ok().filter(|value: &f32| value.is_finite());
    value.ok_or_else(|| format!("'{text}' is no finite number"))
}

fn parse_factor(text: &str) -> Result<f32, String> {
    match parse_finite(text)? {
        0.0 => Err("0 would leave nothing of the picture".to_owned()),
        value => Ok(value),
    }
}

impl PictureArgs {
    /// Takes what is subtracted and what is divided by from here, where no option says it.
    pub fn or_normalised(mut self, mean: Option<Vec<f32>>, std: Option<Vec<f32>>) -> Self {
        self.mean = self.mean.or(mean);
        self.std = self.std.or(std);
        self
    }

    /// Reads a picture as one image of an input `[n, c, h, w]`.
    pub fn read(&self, path: &Path, shape: &Shape) -> Result<Tensor, Error> {
        let Some((_, channels, height, width)) = shape.nchw() else {
            return Err(Error::file(path, format!("a picture does not fit an input of shape {shape}")));
        };
        let side = |extent: usize| u32::try_from(extent).unwrap_or(u32::MAX);
        let mut preprocess = Preprocess::default_for(channels, side(height), side(width));
        if let Some(resize) = self.resize {
            preprocess.resize = resize;
        }
        if let Some(Crop(crop)) = self.crop {
            preprocess.crop = crop;
        }
        preprocess.scale = self.scale.unwrap_or(preprocess.scale);
        preprocess.mean = self.mean.clone().unwrap_or(preprocess.mean);
        preprocess.std = self.std.clone().unwrap_or(preprocess.std);
        image::read(path, [channels, height, width], &preprocess)
    }
}

impl InputArgs {
    /// One array for each input of `graph`, in order; inputs without a file are random in [-1, 1). The leading dimension
    /// of each may be a multiple of the input's own, the same for all: the model is then run several times. Several files
    /// for a model of one input are images of one batch.
    ///
    /// # Errors
    /// Where a file cannot be read or does not fit its input.
    pub fn gather(&self, graph: &Graph, pictures: &PictureArgs) -> Result<Vec<Tensor>, Error> {
        let inputs: Vec<(&str, &Shape)> =
            graph.inputs().iter().map(|&id| (graph.node(id).name.as_str(), graph.shape(id))).collect();
        let mut assigned: Vec<Vec<PathBuf>> = vec![Vec::new(); inputs.len()];
        let mut position = 0;
        for file in &self.input {
            let named = file.split_once('=').and_then(|(name, path)| {
                inputs.iter().position(|(input, _)| *input == name).map(|index| (index, path))
            });
            let (index, path) = match named {
                Some(named) => named,
                None if inputs.len() == 1 => (0, file.as_str()),
                None => {
                    position += 1;
                    (position - 1, file.as_str())
                }
            };
            let Some(slot) = assigned.get_mut(index) else {
                let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
                return Err(Error::input(format!(
                    "'{file}' is one input too many: the model has {} ({})",
                    inputs.len(),
                    names.join(", ")
                )));
            };
            slot.push(PathBuf::from(path));
        }
        let mut arrays = Vec::new();
        for ((name, shape), files) in inputs.iter().zip(assigned) {
            let parts: Vec<Tensor> =
                files.iter().map(|path| read_one(path, name, shape, pictures)).collect::<Result<_, _>>()?;
            arrays.push(if parts.is_empty() { None } else { Some(stack(name, shape, parts)?) });
        }
        let given = arrays.iter().zip(&inputs).find_map(|(array, (_, shape))| {
            let array = array.as_ref()?;
            Some(array.data().len() / shape.elements())
        });
        let runs = given.unwrap_or(1);
        arrays
            .into_iter()
            .zip(&inputs)
            .map(|(array, (name, shape))| match array {
                Some(array) if array.data().len() == runs * shape.elements() => Ok(array),
                Some(array) => Err(Error::input(format!(
                    "input '{name}' is {}, which is {} batches, but another input is {runs}",
                    array.shape(),
                    array.data().len() / shape.elements()
                ))),
                None => Ok(random_input(name, &batches(shape, runs), self.input_seed)),
            })
            .collect()
    }
}

/// The shape of `runs` arrays of `shape` behind one another.
pub fn batches(shape: &Shape, runs: usize) -> Shape {
    let mut dims = shape.dims().to_vec();
    if let Some(first) = dims.first_mut() {
        *first *= runs;
    }
    Shape::new(dims)
}

fn read_one(path: &Path, name: &str, shape: &Shape, pictures: &PictureArgs) -> Result<Tensor, Error> {
    let is_npy = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
    if !is_npy {
        return pictures.read(path, shape);
    }
    let file = NpyFile::open(path)?;
    let (found, wanted) = (file.shape().dims(), shape.dims());
    let fits = found.len() == wanted.len() && found.get(1..) == wanted.get(1..) && found.first() != Some(&0);
    if !fits {
        return Err(Error::file(
            path,
            format!("an array {} does not fit input '{name}' {shape}", file.shape()),
        ));
    }
    file.read()
}

/// Joins `parts` along their first axis to a whole number of the input's batches.
fn stack(name: &str, shape: &Shape, mut parts: Vec<Tensor>) -> Result<Tensor, Error> {
    if parts.len() > 1 && shape.rank() == 0 {
        return Err(Error::input(format!("input '{name}' is a scalar and takes one file")));
    }
    let one = parts.len() == 1;
    let elements: usize = parts.iter().map(|part| part.data().len()).sum();
    if !elements.is_multiple_of(shape.elements()) {
        let images: usize = parts.iter().map(|part| part.shape().dims()[0]).sum();
        return Err(Error::input(format!(
            "input '{name}' takes batches of {}, and {images} do not fill a whole number of them",
            shape.dims()[0]
        )));
    }
    if one {
        return Ok(parts.remove(0));
    }
    let joined = batches(shape, elements / shape.elements());
    Ok(Tensor::new(joined, parts.into_iter().flat_map(Tensor::into_data).collect::<Vec<f32>>()))
}
