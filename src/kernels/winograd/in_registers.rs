//! Products with filters that are transformed in registers.
//!
//! A register tile is one row of the products, `(G g Gᵀ ⊙ Bᵀ d B)[i, ..]`, of some tiles of the image. Each channel's
//! filters are read as they are; that row of their transform takes additions, which wide cores do beside multiply-adds.

use super::{Part, Place, Stages};
use crate::codegen::vector::{Address, Affine, Builder, Index, Reg};
use crate::kernels::product::{RESIDENT_WEIGHTS, stretches};
use crate::kernels::view::CACHE_LINE;

/// Channels that a register tile is multiplied with before it goes back to memory.
struct Channels {
    first: Affine,
    count: usize,
    /// Whether they are all that there are.
    all: bool,
}

/// Tiles of the image that a register tile holds.
struct Tiles {
    first: Affine,
    count: usize,
    /// How many such groups of tiles there are, and which this is.
    groups: usize,
    number: Affine,
}

impl Stages<'_> {
    /// The products of one panel of output channels, scaled, in scratch memory.
    pub(super) fn multiply_in_registers(&self, k: &mut Builder, place: &Place, panel: &Part, depth: usize) {
        let channels = self.before.0.channels;
        let tiles = self.tiles_of(place.rows);
        let group_of_tiles = self.kernel.tile.columns;
        if depth < channels {
            self.clear(k, tiles);
        }
        stretches(k, channels, depth, |k, first, count| {
            let some = Channels { first, count, all: depth >= channels };
            stretches(k, tiles, group_of_tiles, |k, first, count| {
                let number = first.divided_by(group_of_tiles);
                let some_tiles = Tiles { first, count, groups: tiles.div_ceil(group_of_tiles), number };
                for row in 0..self.kernel.method.rows.inputs() {
                    self.multiply_row(k, panel, &some, &some_tiles, row);
                }
            });
        });
    }

    fn clear(&self, k: &mut Builder, tiles: usize) {
        let (block, base) = &self.after;
        k.repeat(tiles, |k, tile| {
            k.repeat(self.kernel.method.products(), |k, product| {
                let zero = k.constant(0.0);
                k.store(zero, base.along(tile, block.tile).along(product, block.product));
            });
        });
    }

    fn multiply_row(&self, k: &mut Builder, panel: &Part, channels: &Channels, tiles: &Tiles, row: usize) {
        let columns = self.kernel.method.columns;
        let (block, base) = &self.after;
        let product = |column: usize| row * columns.inputs() + column;
        let at = |tile: usize, column: usize| {
            block.at(base, &tiles.first.plus(tile), product(column), &Affine::default())
        };
        let scales = [self.kernel.method.rows, columns].map(|transform| transform.filter_scales());
        let sums: Vec<Vec<Reg>> =
            (0..tiles.count).map(|_| (0..columns.inputs()).map(|_| k.constant(0.0)).collect()).collect();
        let (operands, operands_base) = &self.before;
        let filters = self.filters(panel, channels);
        k.repeat(channels.count, |k, channel| {
            self.ask_for_next(k, &filters, channels, tiles, row, channel);
            let filters = filters.along(channel, self.filter_elements());
            let vertical = [0, 1, 2].map(|x| {
                let tap = |y: usize| filters.plus((y * columns.taps() + x) * self.filter.panel_width);
                self.kernel.method.rows.filter_row(k, row, |k, y| k.load(tap(y)))
            });
            let channel = channels.first.along(channel, 1usize);
            columns.filter_rows(k, vertical, |k, column, filter| {
                for (tile, sums) in sums.iter().enumerate() {
                    let at = operands.at(operands_base, &tiles.first.plus(tile), product(column), &channel);
                    let element = k.broadcast(at);
                    k.accumulate(sums[column], element, filter);
                }
            });
        });
        for (tile, sums) in sums.into_iter().enumerate() {
            for (column, value) in sums.into_iter().enumerate() {
                let scale = k.constant(scales[0][row] * scales[1][column]);
                let value = if channels.all {
                    k.mul(value, scale)
                } else {
                    let before = k.load(at(tile, column));
                    k.fma(value, scale, before)
                };
                k.store(value, at(tile, column));
            }
        }
    }

    /// Elements of a panel's filters of one channel.
    fn filter_elements(&self) -> usize {
        let [height, width] = self.kernel.method.kernel();
        height * width * self.filter.panel_width
    }

    /// The first channel's filters.
    fn filters(&self, panel: &Part, channels: &Channels) -> Address {
        let elements = self.filter_elements() * self.before.0.channels;
        let panels = self.filter.panels();
        self.weights
            .along(panel.group, panels * elements)
            .at(&panel.first.divided_by(self.filter.panel_width), elements)
            .at(&channels.first, self.filter_elements())
    }

    /// Brings the filters that follow these channels' nearer: line after line, since memory is fastest so, spread over the
    /// steps that multiply with these.
    fn ask_for_next(
        &self,
        k: &mut Builder,
        filters: &Address,
        channels: &Channels,
        tiles: &Tiles,
        row: usize,
        channel: Index,
    ) {
        if self.filter.elements() <= RESIDENT_WEIGHTS {
            return;
        }
        let lines = self.filter_elements() / CACHE_LINE;
        let shares = self.kernel.method.rows.inputs() * tiles.groups;
        // Shares of a group's rows, as even as whole lines are.
        let before = |share: usize| (share * lines).div_ceil(shares);
        let (first, each) = (before(row), before(row + 1) - before(row));
        // One group of tiles passes filters faster than they arrive from memory within one stretch of channels.
        let distance = if tiles.groups == 1 { 2 } else { 1 };
        let next = filters
            .plus(channels.count * (distance * self.filter_elements() + first * CACHE_LINE))
            .at(&tiles.number, before(self.kernel.method.rows.inputs()) * channels.count * CACHE_LINE)
            .along(channel, each * CACHE_LINE);
        (0..each).for_each(|line| k.prefetch(next.plus(line * CACHE_LINE)));
    }
}
