//! Variables: a frame for the model and one for each block call. A body sees the frames around its block's
//! definition; it assigns only in its own.

use std::collections::HashMap;

use super::value::{FrameId, Value};

#[derive(Default)]
pub(super) struct Scopes<'a> {
    frames: Vec<Frame<'a>>,
    current: FrameId,
}

#[derive(Default)]
struct Frame<'a> {
    /// `None` for a variable whose expression was at fault.
    variables: HashMap<&'a str, Option<Value<'a>>>,
    parent: Option<FrameId>,
}

impl<'a> Scopes<'a> {
    pub fn current(&self) -> FrameId {
        self.current
    }

    /// Opens a frame within `parent`, makes it current, and returns what was.
    pub fn open(&mut self, parent: Option<FrameId>) -> FrameId {
        self.frames.push(Frame { parent, ..Frame::default() });
        std::mem::replace(&mut self.current, self.frames.len() - 1)
    }

    /// Makes an earlier frame current again.
    pub fn resume(&mut self, frame: FrameId) {
        self.current = frame;
    }

    /// Binds a name in the current frame.
    pub fn bind(&mut self, name: &'a str, value: Option<Value<'a>>) {
        self.frames[self.current].variables.insert(name, value);
    }

    /// What a name stands for: `None` if it is unknown, `Some(None)` if its expression was at fault.
    pub fn get(&self, name: &str) -> Option<Option<Value<'a>>> {
        let mut at = Some(self.current);
        while let Some(frame) = at.map(|id| &self.frames[id]) {
            if let Some(value) = frame.variables.get(name) {
                return Some(value.clone());
            }
            at = frame.parent;
        }
        None
    }

    /// The names that can be used here.
    pub fn visible(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        let mut at = Some(self.current);
        while let Some(frame) = at.map(|id| &self.frames[id]) {
            names.extend(frame.variables.keys());
            at = frame.parent;
        }
        names
    }
}
