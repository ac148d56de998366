//! Page-aligned memory for activations and weights.

use std::io;
use std::time::Instant;

use memmap2::MmapMut;

/// Bytes of a large page.
const LARGE_PAGE: usize = 1 << 21;

/// Zeroed elements on pages of their own.
///
/// Large pages take fewer translations of addresses, but the system may have to clear and gather them first, which can
/// take longer than a model's first answer. So there is memory that starts on ordinary pages and
/// [moves](Memory::move_to_large_pages) later.
pub struct Memory {
    /// None where there are no elements: maps are not empty.
    map: Option<MmapMut>,
    elements: usize,
    /// Bytes from the start that need not move any more.
    moved: usize,
}

impl Memory {
    /// Memory on ordinary pages.
    ///
    /// # Errors
    /// Where the system has not that much memory.
    pub fn zeroed(elements: usize) -> io::Result<Self> {
        if elements == 0 {
            return Ok(Memory { map: None, elements, moved: 0 });
        }
        let bytes = elements.checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Memory { map: Some(MmapMut::map_anon(bytes)?), elements, moved: 0 })
    }

    /// Memory on large pages where the system has them to give.
    ///
    /// # Errors
    /// Where the system has not that much memory.
    pub fn zeroed_on_large_pages(elements: usize) -> io::Result<Self> {
        let mut memory = Memory::zeroed(elements)?;
        #[cfg(target_os = "linux")]
        if let Some(map) = memory.map.as_ref().filter(|map| map.len() >= LARGE_PAGE) {
            // A hint: without large pages everything still works.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        memory.moved = memory.bytes();
        Ok(memory)
    }

    /// Moves elements to large pages where the system can, page by page, until then at most. Returns whether all have moved
    /// that can.
    pub fn move_to_large_pages(&mut self, until: Option<Instant>) -> bool {
        while let Some(page) = self.next_large_page() {
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            self.moved = page + LARGE_PAGE;
            #[cfg(target_os = "linux")]
            if let Some(map) = &mut self.map {
                /// As Linux defines it since version 6.1.
                const MADV_COLLAPSE: libc::c_int = 25;
                // SAFETY: the range lies in the map, and moving it to other pages leaves addresses and contents as
                // they are.
                let refused =
                    unsafe { libc::madvise(map.as_mut_ptr().add(page).cast(), LARGE_PAGE, MADV_COLLAPSE) }
                        != 0;
                if refused {
                    // An older system, or nothing has been written there yet: they may come by and by, or when it is. A
                    // hint: on ordinary pages everything still works.
                    let _ = map.advise(memmap2::Advice::HugePage);
                }
            }
        }
        true
    }

    /// Where in the map the next part starts that fills a large page.
    fn next_large_page(&self) -> Option<usize> {
        let map = self.map.as_ref()?;
        let misaligned = (map.as_ptr() as usize + self.moved) % LARGE_PAGE;
        let page = self.moved + (LARGE_PAGE - misaligned) % LARGE_PAGE;
        (page + LARGE_PAGE <= map.len()).then_some(page)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_stays_as_it_is() {
        const ELEMENTS: usize = (5 * LARGE_PAGE + LARGE_PAGE / 2) / size_of::<f32>();
        let mut memory = Memory::zeroed(ELEMENTS).unwrap();
        memory.as_mut_slice().iter_mut().enumerate().for_each(|(at, value)| *value = at as f32);
        assert!(!memory.move_to_large_pages(Some(Instant::now())), "there was no time");
        assert!(memory.move_to_large_pages(None));
        assert!(memory.move_to_large_pages(Some(Instant::now())), "nothing is left");
        assert!(memory.as_mut_slice().iter().enumerate().all(|(at, value)| *value == at as f32));
    }

    #[test]
    fn no_memory_is_no_trouble() {
        let mut memory = Memory::zeroed(0).unwrap();
        assert!(memory.move_to_large_pages(None));
        assert!(memory.as_mut_slice().is_empty());
        assert!(Memory::zeroed(usize::MAX).is_err());
    }
}
