//! Protobuf messages field by field, without building them.
//!
//! In:  the bytes of a message.   Out: its fields in the order in which they were sent, as slices of these bytes.
//! Always: reads nothing outside the slice, and ends at the first byte that is no field.
//! Limits: groups, which nobody has sent for long, count as no field (protobuf.dev, "Encoding").

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    Fixed32,
}

/// What follows is no field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a message; nothing comes after the first that is [`Malformed`].
pub(super) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    /// Where the next field begins in the message.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn read(&mut self) -> Result<(u32, Field<'a>), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Malformed)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Fixed32)?,
            _ => return Err(Malformed),
        };
        match tag >> 3 {
            0 => Err(Malformed),
            number => Ok((number, field)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let bytes = self.message.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.get(self.at).ok_or(Malformed)?;
            self.at += 1;
            // Of the tenth byte one bit is left.
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// Numbers of eight bytes that stand packed in a field.
pub(super) fn packed(bytes: &[u8]) -> Option<impl Iterator<Item = u64> + Clone + '_> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|number| u64::from_le_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Vec<Result<(u32, Field<'_>), Malformed>> {
        Fields::of(message).collect()
    }

    #[test]
    fn fields_of_each_kind_come_in_their_order() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'o', b'k', 0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0x25, 0, 0, 0, 0];
        let fields = [(1, Field::Varint(150)), (2, Field::Bytes(b"ok")), (3, Field::Fixed64(1)), (4, Field::Fixed32)];
        assert_eq!(all(&message), fields.map(Ok));
    }

    #[test]
    fn what_is_no_field_ends_the_message() {
        for message in [
            &[0x12, 3, b'o', b'k'][..],                                          // Shorter than it says.
            &[0x0b, 0x0c],                                                       // A group.
            &[0x02, 0],                                                          // Field number 0.
            &[0x08, 0xff],                                                       // Ends within a number.
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], // Beyond 64 bits.
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, b'o', b'k'], // A length beyond memory.
        ] {
            assert_eq!(all(message), [Err(Malformed)], "{message:?}");
        }
    }
}
