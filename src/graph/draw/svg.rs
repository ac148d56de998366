//! A graph as a picture in SVG.

use std::fmt::Write;

use super::layout::lay_out;
use super::{DrawOptions, Label, Picture};
use crate::graph::Graph;

const BOX_HEIGHT: f64 = 52.0;
const RANK_HEIGHT: f64 = 84.0;
const MARGIN: f64 = 24.0;
/// Above the boxes, for the model's name.
const HEADING: f64 = 36.0;
/// Longer lines are cut.
const MAX_CHARACTERS: usize = 48;
/// About the mean width of a character, in pixels, at the sizes of the title and of the lines below it.
const TITLE_CHARACTER: f64 = 7.2;
const LINE_CHARACTER: f64 = 6.2;

/// The graph as an SVG document, inputs at the top.
pub fn to_svg(graph: &Graph, options: &DrawOptions) -> String {
    let picture = Picture::of(graph, options);
    let widths: Vec<f64> = picture.boxes.iter().map(width).collect();
    let layout = lay_out(&widths, &picture.arrows);
    let heading = width_of(&graph.name, 9.0);
    let width = layout.width.max(heading) + 2.0 * MARGIN;
    let height = HEADING + layout.ranks as f64 * RANK_HEIGHT + MARGIN;

    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="11" text-anchor="middle">
<style>.title {{ font-size: 12.5px; font-weight: 600; fill: #212529 }} .name {{ fill: #495057 }} .shape {{ fill: #868e96 }} path {{ fill: none; stroke: #868e96; stroke-width: 1.3 }}</style>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" style="fill: #868e96; stroke: none"/></marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
"##
    );
    let _ = writeln!(
        svg,
        r##"<text x="{MARGIN}" y="{:.0}" text-anchor="start" font-size="16" font-weight="700" fill="#212529">{}</text>"##,
        MARGIN + 4.0,
        escaped(&graph.name)
    );
    for (&(from, to), waypoints) in picture.arrows.iter().zip(&layout.waypoints) {
        let _ = writeln!(
            svg,
            r#"<path d="{}" marker-end="url(#arrow)"/>"#,
            arrow(layout.boxes[from], waypoints, layout.boxes[to])
        );
    }
    for ((label, width), place) in picture.boxes.iter().zip(widths).zip(&layout.boxes) {
        draw_box(&mut svg, label, width, *place);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_box(svg: &mut String, label: &Label, width: f64, (x, rank): (f64, usize)) {
    let (x, top) = (x + MARGIN, top(rank));
    let (fill, outline) = label.kind.colours();
    let _ = writeln!(
        svg,
        r#"<rect x="{:.1}" y="{top:.1}" width="{width:.1}" height="{BOX_HEIGHT}" rx="6" fill="{fill}" stroke="{outline}"/>"#,
        x - width / 2.0
    );
    let lines = [("title", 17.0, &label.title), ("name", 32.0, &label.name), ("shape", 45.5, &label.shape)];
    for (class, below, text) in lines {
        let y = top + below;
        let text = escaped(&shortened(text));
        let _ = writeln!(svg, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }
}

/// An arrow's path: straight past the boxes of each rank, curved between ranks.
fn arrow(from: (f64, usize), waypoints: &[(f64, usize)], to: (f64, usize)) -> String {
    let (mut x, mut y) = (from.0 + MARGIN, top(from.1) + BOX_HEIGHT);
    let mut path = format!("M{x:.1},{y:.1}");
    for &(next, rank) in waypoints.iter().chain([&to]) {
        let (next, target) = (next + MARGIN, top(rank));
        let middle = (y + target) / 2.0;
        if (next - x).abs() < 0.05 {
            let _ = write!(path, " L{next:.1},{target:.1}");
        } else {
            let _ = write!(path, " C{x:.1},{middle:.1} {next:.1},{middle:.1} {next:.1},{target:.1}");
        }
        (x, y) = (next, target);
        if rank != to.1 {
            y += BOX_HEIGHT;
            let _ = write!(path, " L{x:.1},{y:.1}");
        }
    }
    path
}

fn top(rank: usize) -> f64 {
    HEADING + MARGIN / 2.0 + rank as f64 * RANK_HEIGHT
}

fn width(label: &Label) -> f64 {
    let title = width_of(&label.title, TITLE_CHARACTER);
    let lines = width_of(&label.name, LINE_CHARACTER).max(width_of(&label.shape, LINE_CHARACTER));
    (title.max(lines) + 20.0).max(110.0)
}

fn width_of(text: &str, character: f64) -> f64 {
    text.chars().count().min(MAX_CHARACTERS) as f64 * character
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_CHARACTERS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MAX_CHARACTERS - 1).collect();
    kept + "…"
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // XML has no control characters, not even escaped.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
