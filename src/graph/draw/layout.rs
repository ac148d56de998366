//! Layered drawing of a directed acyclic graph, top to bottom (after Sugiyama, Tagawa and Toda, 1981).
//!
//! - A box's rank is the longest path to it. An arrow that passes ranks gets a waypoint in each.
//! - Boxes that follow one another, and the waypoints of an arrow, form columns, which ought to be straight.
//! - Sweeps down and up order each rank by the mean position of neighbours, then place it: each item as close as it can
//!   be to the next of its column, or where a column begins, to the mean of its neighbours, given the order and the room
//!   that each needs. That is a least-squares problem under a chain of inequalities, which pooling adjacent violators
//!   solves exactly. Branches weigh little beside the column that they part from, and make way for it; branches of
//!   one fork weigh the same, and stand evenly around it. Arrows make way for boxes.

/// Where everything goes, in pixels.
pub struct Layout {
    /// The centre of each box across, and its rank.
    pub boxes: Vec<(f64, usize)>,
    /// For each arrow, its waypoints in the ranks between its ends.
    pub waypoints: Vec<Vec<(f64, usize)>>,
    pub ranks: usize,
    /// The extent across, from 0.
    pub width: f64,
}

/// Between neighbours in a rank.
const GAP: f64 = 24.0;
/// The room that an arrow takes where it passes a rank.
const WAYPOINT_WIDTH: f64 = 4.0;
/// Arrows get waypoints up to this many in all; past it they are drawn without.
const MAX_WAYPOINTS: usize = 100_000;
/// The first half of the sweeps also orders. The last goes down.
const SWEEPS: usize = 25;

/// A box, or a waypoint of an arrow.
struct Item {
    width: f64,
    rank: usize,
    is_box: bool,
    above: Vec<usize>,
    below: Vec<usize>,
    /// Its neighbours in its column.
    column_above: Option<usize>,
    column_below: Option<usize>,
    /// How much it resists being moved.
    weight: f64,
    x: f64,
}

impl Item {
    fn new(width: f64, rank: usize, is_box: bool) -> Item {
        let (above, below) = (Vec::new(), Vec::new());
        Item {
            width,
            rank,
            is_box,
            above,
            below,
            column_above: None,
            column_below: None,
            weight: 0.0,
            x: 0.0,
        }
    }
}

/// Lays out boxes of the given widths. Each arrow leads from a box to one later in the list.
pub fn lay_out(widths: &[f64], arrows: &[(usize, usize)]) -> Layout {
    let mut items = ranked(widths, arrows);
    let paths = add_waypoints(&mut items, arrows);
    form_columns(&mut items);
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        rows.resize(rows.len().max(item.rank + 1), Vec::new());
        rows[item.rank].push(at);
    }
    let ranks = rows.len();
    for row in &rows {
        place(&mut items, row, &vec![0.0; row.len()]);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        for step in 0..ranks {
            let row = &mut rows[if down { step } else { ranks - 1 - step }];
            let neighbours = |at: usize| if down { &items[at].above } else { &items[at].below };
            let mean = |at: usize| {
                let sum: f64 = neighbours(at).iter().map(|&other| items[other].x).sum();
                if neighbours(at).is_empty() { items[at].x } else { sum / neighbours(at).len() as f64 }
            };
            if sweep < SWEEPS / 2 {
                row.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
            }
            let wanted: Vec<f64> = row
                .iter()
                .map(|&at| {
                    let next = if down { items[at].column_above } else { items[at].column_below };
                    next.map_or_else(|| mean(at), |next| items[next].x)
                })
                .collect();
            place(&mut items, row, &wanted);
        }
    }
    let left = items.iter().map(|item| item.x - item.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = items.iter().map(|item| item.x + item.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let position = |at: usize| (items[at].x - left, items[at].rank);
    Layout {
        boxes: (0..widths.len()).map(position).collect(),
        waypoints: paths.into_iter().map(|path| path.into_iter().map(position).collect()).collect(),
        ranks,
        width: (right - left).max(0.0),
    }
}

fn ranked(widths: &[f64], arrows: &[(usize, usize)]) -> Vec<Item> {
    let mut items: Vec<Item> = widths.iter().map(|&width| Item::new(width, 0, true)).collect();
    let mut by_target = arrows.to_vec();
    // A box comes after all that lead to it, so that their ranks are final when its own is set.
    by_target.sort_by_key(|&(_, to)| to);
    for (from, to) in by_target {
        items[to].rank = items[to].rank.max(items[from].rank + 1);
    }
    // What nothing leads to stands right above the first that it leads to.
    let mut first_reader = vec![usize::MAX; items.len()];
    for &(from, to) in arrows {
        first_reader[from] = first_reader[from].min(items[to].rank);
    }
    let mut has_operands = vec![false; items.len()];
    arrows.iter().for_each(|&(_, to)| has_operands[to] = true);
    for (at, item) in items.iter_mut().enumerate() {
        if !has_operands[at] && first_reader[at] != usize::MAX {
            item.rank = first_reader[at] - 1;
        }
    }
    items
}

/// Joins the boxes by way of waypoints, which are appended; returns each arrow's.
fn add_waypoints(items: &mut Vec<Item>, arrows: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut paths = Vec::with_capacity(arrows.len());
    let limit = items.len() + MAX_WAYPOINTS;
    for &(from, to) in arrows {
        let ranks = items[from].rank + 1..items[to].rank;
        let mut path = Vec::new();
        let mut last = from;
        if items.len() + ranks.len() <= limit {
            for rank in ranks {
                let at = items.len();
                items.push(Item::new(WAYPOINT_WIDTH, rank, false));
                items[at].above.push(last);
                items[last].below.push(at);
                path.push(at);
                last = at;
            }
        }
        items[last].below.push(to);
        items[to].above.push(last);
        paths.push(path);
    }
    paths
}

/// Joins into columns: the waypoints of an arrow; a box and the first box that reads it, if that reads it first of all
/// boxes. Where three or more meet or part, there is no first among them.
fn form_columns(items: &mut [Item]) {
    let first = |neighbours: &[usize], is_box: bool| {
        let alike = neighbours.iter().copied().find(|&at| items[at].is_box == is_box);
        alike.filter(|_| neighbours.len() <= 2)
    };
    let pairs: Vec<(usize, usize)> = (0..items.len())
        .filter_map(|at| {
            let below = first(&items[at].below, items[at].is_box)?;
            (first(&items[below].above, items[at].is_box) == Some(at)).then_some((at, below))
        })
        .collect();
    for (above, below) in pairs {
        items[above].column_below = Some(below);
        items[below].column_above = Some(above);
    }
    for top in 0..items.len() {
        if items[top].column_above.is_none() {
            let next = |&at: &usize| items[at].column_below;
            let column: Vec<usize> = std::iter::successors(Some(top), next).collect();
            let branches_off = items[top].above.iter().any(|&at| items[at].below.len() > 1);
            let weight = match (items[top].is_box, branches_off) {
                (false, _) => 1.0,
                (true, true) => 1e4,
                (true, false) => 1e4 * (column.len() as f64 + 1.0).powi(2),
            };
            for at in column {
                items[at].weight = weight;
            }
        }
    }
}

/// Moves the items of a row, in its order, as close to where they are wanted as their widths allow.
fn place(items: &mut [Item], row: &[usize], wanted: &[f64]) {
    /// Neighbours that touch: how many, their weight, and that weight times where they want the first of all to be.
    struct Block {
        count: usize,
        weight: f64,
        moment: f64,
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (position, &at) in row.iter().enumerate() {
        if position > 0 {
            offset += (items[row[position - 1]].width + items[at].width) / 2.0 + GAP;
        }
        offsets.push(offset);
        let weight = items[at].weight;
        let mut block = Block { count: 1, weight, moment: weight * (wanted[position] - offset) };
        while let Some(last) = blocks.pop_if(|last| last.moment / last.weight >= block.moment / block.weight)
        {
            block.count += last.count;
            block.weight += last.weight;
            block.moment += last.moment;
        }
        blocks.push(block);
    }
    let starts =
        blocks.iter().flat_map(|block| std::iter::repeat_n(block.moment / block.weight, block.count));
    for ((&at, offset), start) in row.iter().zip(offsets).zip(starts) {
        items[at].x = start + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_straight_and_its_skip_goes_round() {
        // 0 → 1 → 2 → 3, and 0 → 3.
        let layout = lay_out(&[100.0; 4], &[(0, 1), (1, 2), (2, 3), (0, 3)]);
        let ranks: Vec<usize> = layout.boxes.iter().map(|(_, rank)| *rank).collect();
        assert_eq!(ranks, [0, 1, 2, 3]);
        for (x, _) in &layout.boxes {
            assert!((x - 50.0).abs() < 1.0, "{x}");
        }
        let skip = &layout.waypoints[3];
        assert_eq!(skip.iter().map(|(_, rank)| *rank).collect::<Vec<_>>(), [1, 2]);
        assert!(skip.iter().all(|(x, _)| *x > 100.0), "{skip:?}");
    }

    #[test]
    fn branches_stand_beside_each_other_around_their_join() {
        // 0 → 1, 2, 3 → 4.
        let layout = lay_out(&[60.0; 5], &[(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)]);
        let x: Vec<f64> = layout.boxes.iter().map(|(x, _)| *x).collect();
        assert_eq!(x[1..4].iter().map(|x| x.round()).collect::<Vec<_>>(), [30.0, 114.0, 198.0]);
        assert!((x[0] - 114.0).abs() < 0.5 && (x[4] - 114.0).abs() < 0.5, "{x:?}");
        assert_eq!(layout.width.round(), 228.0);
    }

    #[test]
    fn a_source_stands_above_its_reader() {
        // 0 → 1 → 3, and 2 → 3.
        let layout = lay_out(&[60.0; 4], &[(0, 1), (1, 3), (2, 3)]);
        assert_eq!(layout.boxes.iter().map(|(_, rank)| *rank).collect::<Vec<_>>(), [0, 1, 1, 2]);
    }

    #[test]
    fn boxes_of_a_rank_do_not_overlap() {
        // Every box leads to all of the next rank, which are of mixed widths.
        let widths: Vec<f64> = (0..20).map(|at| 40.0 + f64::from(at % 7) * 30.0).collect();
        let arrows: Vec<(usize, usize)> = (0..15)
            .flat_map(|from| (from / 5 * 5 + 5..from / 5 * 5 + 10).map(move |to| (from, to)))
            .collect();
        let layout = lay_out(&widths, &arrows);
        for a in 0..20 {
            for b in 0..a {
                let ((xa, rank_a), (xb, rank_b)) = (layout.boxes[a], layout.boxes[b]);
                let room = (widths[a] + widths[b]) / 2.0;
                assert!(rank_a != rank_b || (xa - xb).abs() > room, "{a} at {xa}, {b} at {xb}");
            }
        }
        for ((x, _), width) in layout.boxes.iter().zip(&widths) {
            assert!(x - width / 2.0 > -1e-6 && x + width / 2.0 < layout.width + 1e-6);
        }
    }

    #[test]
    fn nothing_to_draw_has_no_extent() {
        let layout = lay_out(&[], &[]);
        assert_eq!((layout.ranks, layout.width), (0, 0.0));
    }
}
