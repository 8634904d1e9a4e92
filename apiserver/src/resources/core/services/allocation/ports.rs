//! Node ports: which there are, which are taken, and how one is chosen.
//!
//! As with addresses the lower band is left to those who ask for a certain port (KEP-3668).

use runtime::Random;

const FULL: &str = "range is full";
const TAKEN: &str = "provided port is already allocated";

/// The ports that nodes lend to Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

/// Which ports of a range are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    range: PortRange,
    /// One bit a port, the first port in the lowest bit of the first word.
    words: Vec<u64>,
}

/// A write of a Service in hand: what it took so far, and what it will give back.
pub(super) struct Desk<'a> {
    ports: Ports,
    random: &'a Random,
    dry_run: bool,
    taken: Vec<u16>,
    given_back: Vec<u16>,
    /// What a dry run took; it may be no port at all.
    pretended: Vec<i32>,
}

// === impl PortRange ===

impl Default for PortRange {
    fn default() -> Self {
        Self { first: 30_000, last: 32_767 }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl PortRange {
    /// The range of a text such as `30000-32767`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let range = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        (range.first <= range.last).then_some(range)
    }

    fn size(self) -> u64 {
        u64::from(self.last.saturating_sub(self.first)) + 1
    }

    /// How many ports the lower band has.
    fn lower_band(self) -> u64 {
        const MIN: u64 = 16;
        const MAX: u64 = 128;
        const STEP: u64 = 32;
        if self.size() <= MIN { 0 } else { (self.size() / STEP).clamp(MIN, MAX) }
    }

    fn offset(self, port: i32) -> Option<u64> {
        let port = u16::try_from(port).ok().filter(|port| (self.first..=self.last).contains(port))?;
        Some(u64::from(port - self.first))
    }

    fn port(self, offset: u64) -> Option<u16> {
        self.first.checked_add(u16::try_from(offset).ok()?)
    }
}

// === impl Ports ===

impl Ports {
    /// None is taken.
    pub fn new(range: PortRange) -> Self {
        let words = usize::try_from(range.size().div_ceil(64)).unwrap_or_default();
        Self { range, words: vec![0; words] }
    }

    /// As upstream stores it: the bitmap as one big-endian number without leading zeros. Bits beyond the range are
    /// dropped.
    pub fn from_bytes(range: PortRange, bytes: &[u8]) -> Self {
        let mut ports = Self::new(range);
        for (index, byte) in bytes.iter().rev().enumerate() {
            for bit in 0..8_u64 {
                let offset = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(8).saturating_add(bit);
                if byte >> bit & 1 == 1 && offset < range.size() {
                    ports.set(offset, true);
                }
            }
        }
        ports
    }

    /// The form that [`Ports::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.words.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
        bytes.into_iter().skip_while(|&byte| byte == 0).collect()
    }

    /// The ports there are.
    pub fn range(&self) -> PortRange {
        self.range
    }

    /// Whether the port is taken.
    pub fn has(&self, port: i32) -> bool {
        self.range.offset(port).is_some_and(|offset| self.bit(offset))
    }

    /// All that are taken, in order.
    pub fn taken(&self) -> impl Iterator<Item = u16> {
        (0..self.range.size()).filter(|&offset| self.bit(offset)).filter_map(|offset| self.range.port(offset))
    }

    /// How many are free.
    pub fn free(&self) -> u64 {
        let taken: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        self.range.size() - taken
    }

    /// Takes this port.
    ///
    /// # Errors
    /// When there is no such port, or it is taken.
    pub fn take(&mut self, port: i32) -> Result<u16, String> {
        let Some(offset) = self.range.offset(port) else {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                self.range
            ));
        };
        if self.bit(offset) {
            return Err(TAKEN.to_owned());
        }
        self.set(offset, true);
        self.range.port(offset).ok_or_else(|| FULL.to_owned())
    }

    /// Takes any port.
    ///
    /// # Errors
    /// When all are taken.
    pub fn take_any(&mut self, random: &Random) -> Result<u16, String> {
        let (band, size) = (self.range.lower_band(), self.range.size());
        let offset = self
            .search(band, size, random)
            .or_else(|| self.search(0, band, random))
            .ok_or_else(|| FULL.to_owned())?;
        self.set(offset, true);
        self.range.port(offset).ok_or_else(|| FULL.to_owned())
    }

    /// Gives a port back. Giving back what was not taken is nothing.
    pub fn release(&mut self, port: i32) {
        if let Some(offset) = self.range.offset(port) {
            self.set(offset, false);
        }
    }

    /// Looks at all ports of a band, beginning somewhere.
    fn search(&self, first: u64, end: u64, random: &Random) -> Option<u64> {
        if first >= end {
            return None;
        }
        let start = first + random.below(end - first);
        (start..end).chain(first..start).find(|&offset| !self.bit(offset))
    }

    fn bit(&self, offset: u64) -> bool {
        let word = usize::try_from(offset / 64).ok().and_then(|index| self.words.get(index));
        word.is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    fn set(&mut self, offset: u64, taken: bool) {
        let word = usize::try_from(offset / 64).ok().and_then(|index| self.words.get_mut(index));
        if let Some(word) = word {
            let bit = 1_u64 << (offset % 64);
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }
}

// === impl Desk ===

impl<'a> Desk<'a> {
    pub(super) fn new(ports: &Ports, random: &'a Random, dry_run: bool) -> Self {
        Self {
            ports: ports.clone(),
            random,
            dry_run,
            taken: Vec::new(),
            given_back: Vec::new(),
            pretended: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, port: i32) -> Result<(), String> {
        if self.dry_run {
            if self.ports.has(port) || self.pretended.contains(&port) {
                return Err(TAKEN.to_owned());
            }
            self.pretended.push(port);
            return Ok(());
        }
        self.taken.push(self.ports.take(port)?);
        Ok(())
    }

    pub(super) fn take_any(&mut self) -> Result<i32, String> {
        if self.dry_run {
            // An example that nobody can have: it lies behind the usual range.
            let port = self.pretended.iter().max().copied().unwrap_or(32_768).saturating_add(1);
            self.pretended.push(port);
            return Ok(port);
        }
        let port = self.ports.take_any(self.random)?;
        self.taken.push(port);
        Ok(port.into())
    }

    /// Nobody else can have the ports before the Service is written.
    pub(super) fn give_back(&mut self, ports: impl IntoIterator<Item = i32>) {
        self.given_back.extend(ports.into_iter().filter_map(|port| u16::try_from(port).ok()));
    }

    /// What to take before the write and what to give back after it.
    pub(super) fn close(self) -> (Vec<u16>, Vec<u16>) {
        if self.dry_run { (Vec::new(), Vec::new()) } else { (self.taken, self.given_back) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_band_is_used_last() {
        let range = PortRange::default();
        let random = Random::from_seed(5);
        let mut ports = Ports::new(range);
        let order: Vec<u16> = std::iter::from_fn(|| ports.take_any(&random).ok()).collect();
        assert_eq!((order.len(), ports.free()), (2768, 0));
        let first_low = order.iter().position(|&port| port < 30_000 + 86);
        assert_eq!(first_low, Some(2768 - 86));
        assert_eq!(ports.take_any(&random), Err("range is full".to_owned()));
    }

    #[test]
    fn a_small_range_has_one_band() {
        let mut ports = Ports::new(PortRange { first: 1, last: 16 });
        let random = Random::from_seed(5);
        assert_eq!(std::iter::from_fn(|| ports.take_any(&random).ok()).count(), 16);
    }

    #[test]
    fn the_stored_form_is_a_big_endian_number() {
        let range = PortRange::default();
        let mut ports = Ports::new(range);
        assert_eq!(ports.to_bytes(), [0_u8; 0]);
        ports.take(30_000).unwrap();
        ports.take(30_009).unwrap();
        assert_eq!(ports.to_bytes(), [0b10, 0b1]);
        assert_eq!(Ports::from_bytes(range, &[0b10, 0b1]), ports);
        assert_eq!(ports.taken().collect::<Vec<_>>(), [30_000, 30_009]);
        ports.release(30_009);
        assert_eq!(ports.to_bytes(), [0b1]);
    }

    #[test]
    fn a_range_reads_as_it_prints() {
        assert_eq!(PortRange::parse("30000-32767"), Some(PortRange::default()));
        assert_eq!(PortRange::parse("2-1"), None);
        assert_eq!(PortRange::default().to_string(), "30000-32767");
    }
}
