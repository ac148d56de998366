//! What the system says of its processor: name and caches.

use std::fs;
use std::path::Path;

/// A data cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    pub level: usize,
    /// Of one instance.
    pub bytes: usize,
    /// How many processors share an instance.
    pub shared_by: usize,
}

/// What a core of recent years has at least, where the system does not say.
const USUAL: [Cache; 2] =
    [Cache { level: 1, bytes: 32 << 10, shared_by: 1 }, Cache { level: 2, bytes: 512 << 10, shared_by: 1 }];

/// The processor's name, with what tells apart models that share one.
pub fn cpu_name() -> String {
    let described = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| describe(&text));
    described.unwrap_or_else(|| format!("{} {}", std::env::consts::ARCH, std::env::consts::OS))
}

/// `AMD EPYC (family 25, model 17)` of the first processor in a `/proc/cpuinfo`.
fn describe(cpuinfo: &str) -> Option<String> {
    let first = cpuinfo.split("\n\n").next()?;
    let field = |key: &str| {
        let lines = first.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
        values.next().filter(|value| !value.is_empty())
    };
    let name = field("model name")?;
    Some(match field("cpu family").zip(field("model")) {
        Some((family, model)) => format!("{name} (family {family}, model {model})"),
        None => name.to_owned(),
    })
}

/// The data caches of the first processor, nearest first.
pub fn caches() -> Vec<Cache> {
    let found = read_caches(Path::new("/sys/devices/system/cpu/cpu0/cache"));
    if found.is_empty() { USUAL.to_vec() } else { found }
}

fn read_caches(folder: &Path) -> Vec<Cache> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut caches: Vec<Cache> = entries.filter_map(|entry| read_cache(&entry.path())).collect();
    caches.sort_by_key(|cache| cache.level);
    caches.dedup_by_key(|cache| cache.level);
    caches
}

fn read_cache(folder: &Path) -> Option<Cache> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let kind = text("type")?;
    if !matches!(kind.trim(), "Data" | "Unified") {
        return None;
    }
    let level = text("level")?.trim().parse().ok().filter(|level| (1..=4).contains(level))?;
    let bytes = parse_size(text("size")?.trim()).filter(|bytes| *bytes >= 4 << 10)?;
    let shared_by = text("shared_cpu_list").and_then(|list| count_list(list.trim())).unwrap_or(1);
    Some(Cache { level, bytes, shared_by })
}

/// `512K` or `32M` in bytes.
fn parse_size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// How many numbers a list such as `0-3,8` names.
fn count_list(text: &str) -> Option<usize> {
    let mut count = 0usize;
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_read_as_linux_writes_them() {
        assert_eq!(
            ["32K", "1024K", "32M", "7", "K", "1T"].map(parse_size),
            [Some(32 << 10), Some(1 << 20), Some(32 << 20), Some(7), None, None]
        );
        assert_eq!(["0", "0-1", "0-3,8", "3-0", ""].map(count_list), [Some(1), Some(2), Some(5), None, None]);
    }

    #[test]
    fn the_first_processor_gives_the_name() {
        let text =
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n";
        assert_eq!(describe(text).unwrap(), "AMD EPYC (family 25, model 17)");
        assert_eq!(describe("processor : 0\n"), None);
    }

    #[test]
    fn caches_grow_with_their_level() {
        let caches = caches();
        assert!(caches.windows(2).all(|pair| pair[0].level < pair[1].level), "{caches:?}");
        assert!(!caches.is_empty() && caches.iter().all(|cache| cache.shared_by > 0));
    }
}
