//! Sets of completion indexes, written as the API writes them: `0-2,5,7,8`.

use std::fmt;

/// A set of indexes, as ordered intervals that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

// === impl Indexes ===

impl Indexes {
    /// Reads a set of indexes below `end`. What is no interval is ignored.
    pub(super) fn parse(text: &str, end: i32) -> Self {
        let mut set = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>())
                && first < end
            {
                set.insert(first, last.min(end - 1));
            }
        }
        set
    }

    fn insert(&mut self, mut first: i32, mut last: i32) {
        self.0.retain(|(from, to)| {
            let apart = *to < first - 1 || *from > last + 1;
            if !apart {
                first = first.min(*from);
                last = last.max(*to);
            }
            apart
        });
        let at = self.0.partition_point(|(from, _)| *from < first);
        self.0.insert(at, (first, last));
    }

    /// With more indexes.
    pub(super) fn with(mut self, more: impl IntoIterator<Item = i32>) -> Self {
        more.into_iter().for_each(|index| self.insert(index, index));
        self
    }

    /// With those of another set.
    pub(super) fn merged(mut self, other: &Self) -> Self {
        other.0.iter().for_each(|(first, last)| self.insert(*first, *last));
        self
    }

    /// How many there are.
    pub(super) fn count(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether an index is among them.
    pub(super) fn contains(&self, index: i32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }

    /// How many are in both.
    pub(super) fn overlap(&self, other: &Self) -> i32 {
        let both = |a: &(i32, i32), b: &(i32, i32)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        self.0.iter().map(|ours| other.0.iter().map(|theirs| both(ours, theirs)).sum::<i32>()).sum()
    }

    /// The first indexes below `end` that are not among them, at most `count`.
    pub(super) fn missing(&self, count: usize, end: i32) -> Vec<i32> {
        let mut gaps = Vec::new();
        let mut next = 0;
        for (first, last) in &self.0 {
            gaps.push(next..(*first).min(end));
            next = next.max(last + 1);
        }
        gaps.push(next..end);
        gaps.into_iter().flatten().take(count).collect()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod index_tests {
    use super::*;

    #[test]
    fn sets_are_written_as_read() {
        for (text, end, written, count) in [
            ("", 10, "", 0),
            ("3", 10, "3", 1),
            ("0,1", 10, "0,1", 2),
            ("0,1,2", 10, "0-2", 3),
            ("0-2,5,7-9", 9, "0-2,5,7,8", 6),
            ("1,x,4-y,6", 10, "1,6", 2),
            ("12", 10, "", 0),
        ] {
            let set = Indexes::parse(text, end);
            assert_eq!((set.to_string().as_str(), set.count()), (written, count), "{text}");
        }
    }

    #[test]
    fn sets_grow_and_know_what_is_missing() {
        let set = Indexes::parse("1,5-6", 10).with([2, 0, 7]);
        assert_eq!(set.to_string(), "0-2,5-7");
        assert_eq!(set.missing(4, 10), [3, 4, 8, 9]);
        assert_eq!(set.missing(1, 10), [3]);
        assert!(set.contains(5) && !set.contains(3));
        assert_eq!(set.overlap(&Indexes::parse("2-5", 10)), 2);
        assert_eq!(set.merged(&Indexes::parse("3,4", 10)).to_string(), "0-7");
    }
}
