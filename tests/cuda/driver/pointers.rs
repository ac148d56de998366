//! What callers of the driver pass by address. All that is believed of a caller stands here: that what it points at is
//! as large as the driver's interface says.

use std::ffi::{CStr, c_char, c_void};

use crate::status::{Outcome, Status};

/// A place for a result.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Errors
    /// Where there is no place.
    pub fn put(self, value: T) -> Outcome {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: by the driver's interface a result's pointer is null or valid for writing one value.
        unsafe { self.0.write(value) };
        Ok(())
    }
}

/// Text with a zero byte behind it.
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// # Errors
    /// Where there is none, or it is no UTF-8.
    pub fn get(&self) -> Outcome<&str> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: by the driver's interface names and PTX end with a zero byte, and stay until the call returns.
        unsafe { CStr::from_ptr(self.0) }.to_str().map_err(|_| Status::INVALID_VALUE)
    }
}

/// Host memory that is copied from.
#[repr(transparent)]
pub struct Source(*const u8);

impl Source {
    pub fn bytes(&self, count: usize) -> Outcome<Vec<u8>> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: by the driver's interface the source of a copy holds as many bytes as are copied.
        Ok(unsafe { std::slice::from_raw_parts(self.0, count) }.to_vec())
    }
}

/// Host memory that is copied to.
#[repr(transparent)]
pub struct Destination(*mut u8);

impl Destination {
    pub fn fill(self, bytes: &[u8]) -> Outcome {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: by the driver's interface the destination of a copy has room for as many bytes as are copied; it
        // cannot overlap a buffer of this library.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0, bytes.len()) };
        Ok(())
    }

    /// Writes text and a zero byte, cut to `room` bytes.
    pub fn fill_text(self, text: &str, room: usize) -> Outcome {
        let Some(most) = room.checked_sub(1) else { return Err(Status::INVALID_VALUE) };
        let mut bytes = text.as_bytes()[..text.len().min(most)].to_vec();
        bytes.push(0);
        self.fill(&bytes)
    }
}

/// A kernel's arguments: pointers to them.
#[repr(transparent)]
pub struct Arguments(*const *const c_void);

impl Arguments {
    /// The values of `count` arguments of 64 bits.
    pub fn doubles(&self, count: usize) -> Outcome<Vec<u64>> {
        if self.0.is_null() {
            return if count == 0 { Ok(Vec::new()) } else { Err(Status::INVALID_VALUE) };
        }
        // SAFETY: by the driver's interface there are as many pointers as the kernel has parameters, each to a value of
        // the parameter's size, which the caller of this function has looked up.
        let read = |index| unsafe { self.0.add(index).read().cast::<u64>().read_unaligned() };
        Ok((0..count).map(read).collect())
    }
}

/// Options of the JIT compiler and their values, which are numbers or pointers.
#[repr(transparent)]
pub struct List<T>(*const T);

impl<T: Copy> List<T> {
    pub fn values(&self, count: usize) -> Outcome<Vec<T>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: by the driver's interface both lists are as long as the caller says.
        Ok(unsafe { std::slice::from_raw_parts(self.0, count) }.to_vec())
    }
}

impl Destination {
    /// The buffer that a value of an option names.
    pub fn at(value: usize) -> Destination {
        Destination(std::ptr::with_exposed_provenance_mut(value))
    }
}
