//! Pooling.

use crate::dsl::elaborate::arguments::Arguments;
use crate::dsl::elaborate::value::Value;
use crate::dsl::elaborate::{Elaborator, Eval, windows};
use crate::ops::{GlobalPool, GlobalReduce, Pool, PoolKind, Window};

pub fn max_pool<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let dilation = arguments.pair(e, "dilation", 1)?;
    pool(e, arguments, PoolKind::Max, dilation)
}

pub fn avg_pool<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let count_include_pad = arguments.flag(e, "count_include_pad")?;
    pool(e, arguments, PoolKind::Average { count_include_pad }, [1, 1])
}

fn pool<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    kind: PoolKind,
    dilation: [usize; 2],
) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let kernel = arguments.pair(e, "kernel", 1)?;
    let stride = arguments.pair(e, "stride", 1)?;
    let ceil_mode = arguments.flag(e, "ceil_mode")?;
    let (_, _, h, w) = e.image(arguments, x)?;
    let padding = windows::padding(e, arguments, [h, w], kernel, stride, dilation)?;
    let op = Pool { kind, kernel, window: Window { stride, padding, dilation }, ceil_mode };
    e.add_plain(arguments, op, &[x])
}

pub fn global_avg_pool<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    global_pool(e, arguments, GlobalReduce::Average)
}

pub fn global_max_pool<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    global_pool(e, arguments, GlobalReduce::Max)
}

fn global_pool<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    reduce: GlobalReduce,
) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    e.image(arguments, x)?;
    e.add_plain(arguments, GlobalPool { reduce }, &[x])
}
