//! Fields of a message, one after the other, within its bytes.

use super::Error;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
    /// Groups are obsolete; one is skipped, but its fields are not told apart.
    Group,
}

/// Gives number and payload of each field; ends after the first error.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

// === impl Payload ===

impl<'a> Payload<'a> {
    pub(super) fn wire_type(&self) -> u8 {
        match self {
            Payload::Varint(_) => 0,
            Payload::Fixed64(_) => 1,
            Payload::Bytes(_) => 2,
            Payload::Group => 3,
            Payload::Fixed32 => 5,
        }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        if let Payload::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn varint(&self) -> Option<u64> {
        if let Payload::Varint(number) = self { Some(*number) } else { None }
    }

    pub(super) fn fixed_64(&self) -> Option<u64> {
        if let Payload::Fixed64(bits) = self { Some(*bits) } else { None }
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), Error> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0 && *number <= 0x7fff_ffff);
        let number = number.ok_or(Error::Tag(tag))?;
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(&mut self.rest)?),
            1 => {
                let bytes: [u8; 8] = self.take(8)?.try_into().unwrap_or_default();
                Payload::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let len = usize::try_from(varint(&mut self.rest)?).ok().ok_or(Error::End)?;
                Payload::Bytes(self.take(len)?)
            }
            3 => {
                self.skip_group()?;
                Payload::Group
            }
            5 => {
                self.take(4)?;
                Payload::Fixed32
            }
            _ => return Err(Error::Tag(tag)),
        };
        Ok((number, payload))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::End)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Groups may nest: counts instead of recursing.
    fn skip_group(&mut self) -> Result<(), Error> {
        let mut open = 1_usize;
        while open > 0 {
            let tag = varint(&mut self.rest)?;
            match tag & 7 {
                0 => drop(varint(&mut self.rest)?),
                1 => drop(self.take(8)?),
                2 => {
                    let len = usize::try_from(varint(&mut self.rest)?).ok().ok_or(Error::End)?;
                    self.take(len)?;
                }
                3 => open += 1,
                4 => open -= 1,
                5 => drop(self.take(4)?),
                _ => return Err(Error::Tag(tag)),
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Payload<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Numbers without tags between them.
pub(super) fn varints(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, Error>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = varint(&mut bytes);
        if number.is_err() {
            bytes = &[];
        }
        Some(number)
    })
}

fn varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut number = 0_u64;
    for (at, byte) in rest.iter().enumerate() {
        if at == 10 {
            return Err(Error::Overflow);
        }
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *rest = rest.get(at + 1..).unwrap_or_default();
            return Ok(number);
        }
    }
    Err(Error::End)
}
