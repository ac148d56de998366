//! Pictures (PNG, JPEG) as model inputs `[1, c, h, w]`.

use std::io::BufReader;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb32FImage};

use crate::Error;
use crate::tensor::Tensor;

/// The widest and highest picture that is read, in pixels.
const MAX_SIDE: u32 = 1 << 14;
/// The most memory that decoding may take, in bytes.
const MAX_DECODED: u64 = 1 << 30;
/// Deflate's best compression.
const MOST_DEFLATED: u64 = 1032;
/// Pictures of up to this many pixels are decoded whatever their files' lengths.
const SMALL_PICTURE: u64 = 1 << 20;
/// The most pixels that a resized picture may have.
const MAX_RESIZED: u64 = 1 << 26;

/// The mean of ImageNet's pixels in [0, 1], by channel (red, green, blue).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Their standard deviation.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How a picture becomes an array: resized, the centre cut out, then each value
/// `(pixel · scale - mean) / std` with the pixel in [0, 1].
#[derive(Clone, PartialEq, Debug)]
pub struct Preprocess {
    pub resize: Resize,
    /// `[height, width]` of the centre that is cut out. Where it is not the size of the input, it is then
    /// resized to that.
    pub crop: Option<[u32; 2]>,
    pub scale: f32,
    /// One value for all channels, or one for each.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

/// To what size a picture is brought first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resize {
    /// Not at all.
    None,
    /// The shorter side to this; the longer one follows.
    Shorter(u32),
    /// `[height, width]`, whatever the picture's own proportions.
    Exact([u32; 2]),
}

impl Preprocess {
    /// What the networks of torchvision and timm were trained with, for a colour input of `height` × `width`:
    /// resized such that the input covers 224/256 of it, centre crop, ImageNet's mean and deviation.
    /// A gray input (`channels` = 1) is resized exactly and keeps its values in [0, 1].
    pub fn default_for(channels: usize, height: u32, width: u32) -> Self {
        if channels == 1 {
            let resize = Resize::Exact([height, width]);
            return Preprocess { resize, crop: None, scale: 1.0, mean: vec![0.0], std: vec![1.0] };
        }
        let shorter = (u64::from(height.max(width)) * 256 + 112) / 224;
        Preprocess {
            resize: Resize::Shorter(shorter.min(u64::from(MAX_SIDE)) as u32),
            crop: Some([height, width]),
            scale: 1.0,
            mean: IMAGENET_MEAN.to_vec(),
            std: IMAGENET_STD.to_vec(),
        }
    }
}

/// Reads the picture at `path` as `[1, channels, height, width]`, where `channels` is 3 (red, green, blue) or
/// 1 (gray, by ITU-R BT.601 as in Pillow). Transparency is ignored; the orientation in a photo's EXIF data is
/// applied. Resizing is bilinear and antialiased.
///
/// # Errors
/// Where the file is no PNG or JPEG picture, is damaged or too large, or does not fit the input.
pub fn read(path: &Path, shape: [usize; 3], preprocess: &Preprocess) -> Result<Tensor, Error> {
    let [channels, height, width] = shape;
    let problem = |problem: String| Error::file(path, problem);
    if channels != 1 && channels != 3 {
        let what = "a picture gives 1 or 3 channels; pass a .npy array";
        return Err(problem(format!("the input has {channels} channels, but {what}")));
    }
    for (name, values) in [("mean", &preprocess.mean), ("std", &preprocess.std)] {
        if values.len() != 1 && values.len() != channels {
            return Err(Error::input(format!(
                "--{name} gives {} values for an input of {channels} channels",
                values.len()
            )));
        }
    }
    let size = |extent: usize| {
        u32::try_from(extent).ok().filter(|&extent| (1..=MAX_SIDE).contains(&extent)).ok_or_else(|| {
            problem(format!("an input of {height}×{width} pixels is more than pictures are resized to"))
        })
    };
    let input = [size(height)?, size(width)?];
    let picture = decode(path)?;
    let picture = resize(picture, preprocess.resize).map_err(problem)?;
    let picture = crop(picture, preprocess.crop).map_err(problem)?;
    let picture = resize(picture, Resize::Exact(input)).map_err(problem)?;

    let pick = |values: &[f32], channel: usize| values[channel.min(values.len() - 1)];
    let pixels = picture.as_raw();
    Ok(Tensor::from_fn([1, channels, height, width], |at| {
        let rgb = &pixels[(at[2] * width + at[3]) * 3..][..3];
        let value = match channels {
            1 => 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2],
            _ => rgb[at[1]],
        };
        (value * preprocess.scale - pick(&preprocess.mean, at[1])) / pick(&preprocess.std, at[1])
    }))
}

fn decode(path: &Path) -> Result<Rgb32FImage, Error> {
    let problem = |error: image::ImageError| Error::file(path, error);
    let file = super::open(path)?;
    let length = file.metadata().map_err(Error::read(path))?.len();
    let mut reader =
        ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(Error::read(path))?;
    let Some(format) = reader.format() else {
        return Err(Error::file(path, "neither a PNG nor a JPEG picture"));
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(problem)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_RESIZED {
        return Err(Error::file(path, format!("a picture of {width}×{height} pixels is not read")));
    }
    // Deflate shrinks a thousandfold at best, and JPEG needs a bit or more for each block of 64 pixels.
    let pixels_per_byte = match format {
        ImageFormat::Png => {
            8 * MOST_DEFLATED / u64::from(decoder.original_color_type().bits_per_pixel()).max(1)
        }
        _ => 64 * 8,
    };
    if u64::from(width) * u64::from(height) / pixels_per_byte > length + SMALL_PICTURE / pixels_per_byte {
        return Err(Error::file(
            path,
            format!("{length} bytes cannot hold a picture of {width}×{height} pixels"),
        ));
    }
    let orientation = decoder.orientation().map_err(problem)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(problem)?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb32f())
}

fn resize(picture: Rgb32FImage, to: Resize) -> Result<Rgb32FImage, String> {
    let (width, height) = picture.dimensions();
    let [to_height, to_width] = match to {
        Resize::None => return Ok(picture),
        Resize::Exact(size) => size,
        Resize::Shorter(shorter) => {
            // The longer side is rounded down, as in torchvision.
            let longer = |long: u32, short: u32| {
                u32::try_from(u64::from(long) * u64::from(shorter) / u64::from(short)).unwrap_or(u32::MAX)
            };
            if width < height { [longer(height, width), shorter] } else { [shorter, longer(width, height)] }
        }
    };
    if [to_height, to_width] == [height, width] {
        return Ok(picture);
    }
    if to_height == 0 || to_width == 0 || u64::from(to_height) * u64::from(to_width) > MAX_RESIZED {
        return Err(format!("cannot resize {width}×{height} pixels to {to_width}×{to_height}"));
    }
    Ok(imageops::resize(&picture, to_width, to_height, FilterType::Triangle))
}

fn crop(picture: Rgb32FImage, to: Option<[u32; 2]>) -> Result<Rgb32FImage, String> {
    let Some([to_height, to_width]) = to else { return Ok(picture) };
    let (width, height) = picture.dimensions();
    if to_width > width || to_height > height || to_width == 0 || to_height == 0 {
        return Err(format!("cannot cut {to_width}×{to_height} pixels out of {width}×{height}"));
    }
    let (x, y) = ((width - to_width) / 2, (height - to_height) / 2);
    Ok(imageops::crop_imm(&picture, x, y, to_width, to_height).to_image())
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    fn plain() -> Preprocess {
        Preprocess { resize: Resize::None, crop: None, scale: 1.0, mean: vec![0.0], std: vec![1.0] }
    }

    fn read_picture(picture: DynamicImage, shape: [usize; 3], preprocess: &Preprocess) -> Tensor {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        picture.save(&path).unwrap();
        read(&path, shape, preprocess).unwrap()
    }

    #[test]
    fn pixels_become_channels_first() {
        let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([if x == 0 { 255 } else { 0 }, 51, 102]));
        let tensor = read_picture(picture.into(), [3, 1, 2], &plain());
        assert_eq!(tensor.shape().dims(), [1, 3, 1, 2]);
        assert_eq!(tensor.data(), [1.0, 0.0, 0.2, 0.2, 0.4, 0.4]);
    }

    #[test]
    fn gray_inputs_take_the_luma() {
        let picture = GrayImage::from_pixel(8, 8, Luma([51]));
        let tensor = read_picture(picture.into(), [1, 8, 8], &Preprocess::default_for(1, 8, 8));
        assert!(tensor.data().iter().all(|v| (v - 0.2).abs() < 1e-6), "{:?}", tensor.data());
        let red = RgbImage::from_pixel(1, 1, Rgb([255, 0, 0]));
        let tensor = read_picture(red.into(), [1, 1, 1], &plain());
        assert!((tensor.data()[0] - 0.299).abs() < 1e-6);
    }

    #[test]
    fn imagenet_defaults_resize_crop_and_normalise() {
        let picture = RgbImage::from_pixel(100, 50, Rgb([255, 255, 255]));
        let preprocess = Preprocess::default_for(3, 28, 28);
        assert_eq!((preprocess.resize, preprocess.crop), (Resize::Shorter(32), Some([28, 28])));
        let tensor = read_picture(picture.into(), [3, 28, 28], &preprocess);
        for (channel, plane) in tensor.data().chunks(28 * 28).enumerate() {
            let expected = (1.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel];
            assert!(plane.iter().all(|v| (v - expected).abs() < 1e-4), "{} {expected}", plane[0]);
        }
    }

    #[test]
    fn shrinking_averages() {
        let picture = GrayImage::from_fn(64, 64, |x, _| Luma([if x % 2 == 0 { 0 } else { 255 }]));
        let tensor = read_picture(picture.into(), [1, 8, 8], &Preprocess::default_for(1, 8, 8));
        assert!(tensor.data().iter().all(|v| (v - 0.5).abs() < 0.05), "{:?}", tensor.data());
    }

    #[test]
    fn extreme_sizes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thin.png");
        RgbImage::new(1, 4000).save(&path).unwrap();
        let error = read(&path, [3, 224, 224], &Preprocess { resize: Resize::Shorter(256), ..plain() });
        assert!(error.unwrap_err().to_string().contains("cannot resize 1×4000"));
    }
}
