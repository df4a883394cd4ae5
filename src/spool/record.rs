//! One record on disk: a line of its checksum, the time at which it was received, and its text.
//!
//! `<CRC-32 of what follows the blank, 8 hexadecimal digits> <milliseconds since 1970> <text>\n`

/// Writes a record down.
pub(super) fn line(at_ms: u64, text: &str) -> Vec<u8> {
    debug_assert!(!text.contains('\n'), "a record is one line");
    let checked = format!("{at_ms} {text}");
    format!("{:08x} {checked}\n", crc32fast::hash(checked.as_bytes())).into_bytes()
}

/// Reads what [`line`] wrote, without its line break: time and text. `None` if it is not whole.
pub(super) fn parse(line: &[u8]) -> Option<(u64, &str)> {
    let (checksum, rest) = line.split_at_checked(9)?;
    let checksum = std::str::from_utf8(checksum).ok()?.strip_suffix(' ')?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(rest) {
        return None;
    }
    let (at_ms, text) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    Some((at_ms.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_no_part_of_it_does() {
        let line = line(1_764_000_000_000, r#"{"a":"é b"}"#);
        let line = line.strip_suffix(b"\n").unwrap();
        assert_eq!(parse(line), Some((1_764_000_000_000, r#"{"a":"é b"}"#)));
        for len in 0..line.len() {
            assert_eq!(parse(&line[..len]), None, "{len}");
        }
        for place in 0..line.len() {
            let mut damaged = line.to_vec();
            damaged[place] ^= 1;
            assert_eq!(parse(&damaged), None, "{place}");
        }
    }
}
