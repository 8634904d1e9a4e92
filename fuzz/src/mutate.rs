//! New inputs out of old ones. A mutation is a value, so that a test can shrink what it finds.

use rand::{Rng as _, rngs::StdRng};

/// The longest input that is made; what is too large for a request is tested by itself.
const LONGEST: usize = 64 * 1024;
/// Numbers at which code likes to break.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1e400",
    "-0",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.0000000001",
    "99999999999999999999999999999999999999999",
];

/// One change of an input. What the numbers mean depends on `how`; any of them mean something.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// Which change.
    pub how: u8,
    /// Where.
    pub at: u32,
    /// How much.
    pub len: u16,
    /// With what.
    pub with: u32,
}

/// What mutations draw from besides the input.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// Other inputs, to splice with.
    pub inputs: &'a [Vec<u8>],
    /// Words of the target's language.
    pub words: &'a [&'a str],
}

// === impl Mutation ===

impl Mutation {
    /// Any mutation.
    pub fn any(random: &mut StdRng) -> Self {
        Self { how: random.random(), at: random.random(), len: random.random(), with: random.random() }
    }

    /// Changes an input.
    pub fn apply(self, input: &mut Vec<u8>, pool: Pool<'_>) {
        let start = index(self.at, input.len() + 1);
        let end = (start + index(u32::from(self.len), 32) + 1).min(input.len());
        let word = pick(pool.words, self.with).copied().unwrap_or(" ");
        match self.how % 12 {
            0 => {
                if let Some(byte) = input.get_mut(start) {
                    *byte ^= 1 << (self.with % 8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(start) {
                    [*byte, ..] = self.with.to_le_bytes();
                }
            }
            2 => drop(input.drain(start.min(end)..end)),
            3 => replace(input, start, start, &self.with.to_le_bytes()),
            4 | 5 => replace(input, start, start, word.as_bytes()),
            6 => replace(input, start.min(end), end, word.as_bytes()),
            7 => {
                let piece = input.get(start.min(end)..end).unwrap_or_default().to_vec();
                let times = 1 + index(self.with, 400);
                replace(input, start, start, &piece.repeat(times));
            }
            8 => {
                // A piece of another input.
                if let Some(other) = pick(pool.inputs, self.with) {
                    let from = index(self.at.rotate_left(16), other.len() + 1);
                    let until = (from + usize::from(self.len)).min(other.len());
                    replace(input, start, start, other.get(from..until).unwrap_or_default());
                }
            }
            9 => {
                // The end of another input.
                if let Some(other) = pick(pool.inputs, self.with) {
                    let from = index(self.at.rotate_left(16), other.len() + 1);
                    input.truncate(start);
                    input.extend_from_slice(other.get(from..).unwrap_or_default());
                }
            }
            10 => {
                let number = pick(NUMBERS, self.with).copied().unwrap_or("0");
                let (from, until) = number_near(input, start);
                replace(input, from, until, number.as_bytes());
            }
            _ => input.truncate(start),
        }
        input.truncate(LONGEST);
    }
}

/// An input made of the target's words alone.
pub fn babble(random: &mut StdRng, words: &[&str]) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..random.random_range(0..24) {
        match random.random_range(0..12) {
            0 => input.push(random.random()),
            1 => input.extend_from_slice(pick(NUMBERS, random.random()).copied().unwrap_or("0").as_bytes()),
            _ => input.extend_from_slice(pick(words, random.random()).copied().unwrap_or(" ").as_bytes()),
        }
    }
    input
}

fn pick<T>(from: &[T], with: u32) -> Option<&T> {
    from.get(index(with, from.len().max(1)))
}

fn index(number: u32, len: usize) -> usize {
    usize::try_from(number).unwrap_or_default() % len.max(1)
}

fn replace(input: &mut Vec<u8>, from: usize, until: usize, with: &[u8]) {
    input.splice(from..until, with.iter().copied());
}

/// The first number at or after a place.
fn number_near(input: &[u8], start: usize) -> (usize, usize) {
    let tail = input.get(start..).unwrap_or_default();
    let Some(from) = tail.iter().position(u8::is_ascii_digit) else { return (start, start) };
    let len = tail.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    (start + from, start + from + len)
}
