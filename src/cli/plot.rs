//! A picture of the layers' times, fused beside unfused.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::layers::LayerTime;
use crate::Error;
use crate::io::AtomicFile;

const FUSED: RGBColor = RGBColor(214, 90, 24);
const UNFUSED: RGBColor = RGBColor(158, 170, 184);
const FONT: &str = "sans-serif";
const HEIGHT: u32 = 520;
/// Room for the names below the bars, in pixels.
const NAMES: u32 = 150;
/// The most names that are written below the bars.
const MAX_NAMES: usize = 64;

/// Accepts a path by its ending.
pub fn parse_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match ending(&path).as_deref() {
        Some("svg" | "png") => Ok(path),
        _ => Err("the file's name must end in .svg or .png".to_owned()),
    }
}

fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_lowercase())
}

/// Draws two bars for each layer as SVG or PNG, by the ending of the file's name.
///
/// # Errors
/// Where the file cannot be written.
pub fn draw(mut file: AtomicFile, title: &str, layers: &[LayerTime]) -> Result<(), Error> {
    let width = (layers.len() as u32 * 28 + 120).clamp(900, 3000);
    let path = file.path().to_owned();
    let picture = render(ending(&path).as_deref() == Some("png"), width, title, layers);
    let picture = picture.map_err(|problem| Error::file(&path, format!("cannot draw: {problem}")))?;
    file.write_all(&picture).map_err(Error::write(&path))?;
    file.commit()
}

fn render(png: bool, width: u32, title: &str, layers: &[LayerTime]) -> Result<Vec<u8>, String> {
    // The font is part of the program: a picture looks the same on a machine that has none.
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        let known = plotters::style::register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        assert!(known.is_ok(), "the embedded font is a font");
    });
    let size = (width, HEIGHT);
    if !png {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            chart(&area, title, layers).map_err(|error| error.to_string())?;
        }
        return Ok(svg.into_bytes());
    }
    let mut pixels = vec![255; width as usize * HEIGHT as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        chart(&area, title, layers).map_err(|error| error.to_string())?;
    }
    let mut encoded = Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut encoded,
        &pixels,
        width,
        HEIGHT,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|error| error.to_string())?;
    Ok(encoded.into_inner())
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn chart<B: DrawingBackend>(area: &DrawingArea<B, Shift>, title: &str, layers: &[LayerTime]) -> Drawn<B> {
    area.fill(&WHITE)?;
    let longest = layers.iter().map(|layer| layer.fused.max(layer.unfused)).fold(0.0, f64::max);
    let top = if longest > 0.0 { longest * 1e3 * 1.05 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .caption(title, (FONT, 20))
        .y_label_area_size(64)
        .x_label_area_size(NAMES)
        .build_cartesian_2d(0.0..layers.len() as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_desc("ms")
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.4))
        .label_style((FONT, 14))
        .draw()?;
    for (name, colour, left, seconds) in [
        ("unfused", UNFUSED, 0.12, (|layer| layer.unfused) as fn(&LayerTime) -> f64),
        ("fused", FUSED, 0.50, |layer| layer.fused),
    ] {
        let bar = |(at, layer): (usize, &LayerTime)| {
            let x = at as f64 + left;
            Rectangle::new([(x, 0.0), (x + 0.38, seconds(layer) * 1e3)], colour.filled())
        };
        chart
            .draw_series(layers.iter().enumerate().map(bar))?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 14, y + 6)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 15))
        .draw()?;
    let every = layers.len().div_ceil(MAX_NAMES).max(1);
    let style = TextStyle::from((FONT, 12).into_font())
        .transform(FontTransform::Rotate270)
        .pos(Pos::new(HPos::Right, VPos::Center));
    for (at, layer) in layers.iter().enumerate().step_by(every) {
        let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
        area.draw_text(&shortened(&layer.first), &style, (x, y + 8))?;
    }
    area.present()
}

/// A name that fits below its bar: its end, which tells layers apart.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 21;
    let length = name.chars().count();
    if length <= LONGEST {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - LONGEST + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(n: usize) -> Vec<LayerTime> {
        (0..n)
            .map(|at| LayerTime {
                name: String::new(),
                first: format!("features.{at}.conv"),
                kernel: String::new(),
                fused: 1e-3 * (1.0 + (at % 5) as f64),
                unfused: 1.4e-3 * (1.0 + (at % 5) as f64),
                multiply_adds: 0,
            })
            .collect()
    }

    #[test]
    fn every_layer_has_two_bars() {
        let svg = String::from_utf8(render(false, 900, "a title", &layers(10)).unwrap()).unwrap();
        assert!(svg.contains("a title"));
        // The legend has one of each colour too.
        assert_eq!(svg.matches("#D65A18").count(), 11, "{svg}");
        assert_eq!(svg.matches("#9EAAB8").count(), 11);
    }

    #[test]
    fn a_png_has_bars_of_both_colours_and_text() {
        let png = render(true, 900, "a title", &layers(10)).unwrap();
        let picture = image::load_from_memory(&png).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (900, HEIGHT));
        let count =
            |wanted: RGBColor| picture.pixels().filter(|p| p.0 == [wanted.0, wanted.1, wanted.2]).count();
        assert!(count(FUSED) > 1000 && count(UNFUSED) > count(FUSED));
        let dark = picture.rows().take(40).flatten().filter(|p| p.0[0] < 100).count();
        assert!(dark > 50, "the title is drawn");
    }
}
