//! Page-aligned memory for activations and weights.

use memmap2::MmapMut;

/// Zeroed elements on pages of their own, on large pages where the system has them to give.
pub struct Memory {
    /// None where there are no elements: maps are not empty.
    map: Option<MmapMut>,
    elements: usize,
}

impl Memory {
    /// # Errors
    /// Where the system has not that much memory.
    pub fn zeroed(elements: usize) -> std::io::Result<Self> {
        if elements == 0 {
            return Ok(Memory { map: None, elements });
        }
        let bytes = elements.checked_mul(size_of::<f32>()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(bytes)?;
        #[cfg(target_os = "linux")]
        if bytes >= 1 << 21 {
            // A hint: without large pages everything still works.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Memory { map: Some(map), elements })
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match &mut self.map {
            // SAFETY: the map holds `elements` floats, is page-aligned, and any bits are a float.
            Some(map) => unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().cast(), self.elements) },
            None => &mut [],
        }
    }

    /// The element at `offset`, of `elements` that follow from it.
    ///
    /// # Panics
    /// If they do not lie in the memory.
    pub fn part(&mut self, offset: usize, elements: usize) -> *mut f32 {
        self.as_mut_slice()[offset..offset + elements].as_mut_ptr()
    }

    pub fn bytes(&self) -> usize {
        self.elements * size_of::<f32>()
    }
}
