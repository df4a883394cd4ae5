//! Consent as a CSV file: `phone_number,channel,state,source,at,evidence`, found by the names in the header.
//!
//! Evidence is other people's words, and a spreadsheet that opens the file calculates what looks like a formula. So evidence
//! that begins like one has an apostrophe in front, by which spreadsheets know a text, and which is taken away again when the
//! file is read. A phone number stays as it is: a sign and digits are a number, whoever reads them.
//!
//! Source: <https://owasp.org/www-community/attacks/CSV_Injection>.

use std::{borrow::Cow, time::Duration};

use csv::{ByteRecord, ReaderBuilder, StringRecord, WriterBuilder};
use jiff::Timestamp;

use super::record::{Exported, Fault, FileRecord, Record};
use crate::{
    domain::{
        UnixMs,
        consent::{ConsentChannel, ConsentSource, ConsentState},
        rights,
    },
    phone::{self, Region},
};

/// The columns, in the order in which they are written.
pub const COLUMNS: [&str; 6] = ["phone_number", "channel", "state", "source", "at", "evidence"];

/// The longest evidence, in characters.
pub const EVIDENCE_CHARACTERS_MAX: usize = 1_000;

/// Bad lines that are told one by one; all are counted.
pub const FAULTS_MAX: usize = 1_000;

/// Lines that keep a person opted out and are told one by one; all are counted.
pub const KEPT_MAX: usize = 5_000;

/// How far the clock of whoever wrote a file may be ahead of ours.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// The good lines, in their order.
    pub records: Vec<FileRecord>,
    /// The first [`FAULTS_MAX`] bad lines.
    pub faults: Vec<Fault>,
    /// All bad lines.
    pub faulty: usize,
}

/// A file that cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    /// It has no header, or one without a column that is needed.
    #[error("line 1 must name the columns phone_number, channel and state: {0} is missing")]
    Column(&'static str),
    /// A column has a name that is not known.
    #[error("line 1 names a column that is not known: {0:?}")]
    Unknown(String),
}

/// Reads a file. Numbers without `+` are of `region`, and nobody has said anything after `now`.
pub fn read(text: &[u8], region: Option<Region>, now: UnixMs) -> Result<Read, InvalidFile> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text);
    let header = reader.headers().cloned().unwrap_or_default();
    let mut places = [None; COLUMNS.len()];
    for (place, name) in header.iter().enumerate() {
        let name = name.trim().to_ascii_lowercase();
        match COLUMNS.iter().position(|column| *column == name) {
            Some(column) => places[column] = Some(place),
            None => return Err(InvalidFile::Unknown(name.chars().take(64).collect())),
        }
    }
    if let Some(column) = (0..3).find(|&column| places[column].is_none()) {
        return Err(InvalidFile::Column(COLUMNS[column]));
    }
    let mut read = Read::default();
    for (line, row) in rows(reader, text) {
        let row = StringRecord::from_byte_record(row).map_err(|_| "is not in UTF-8".to_owned());
        match row.and_then(|row| record(&row, &places, region, now)) {
            Ok(record) => read.records.push(FileRecord { line, record }),
            Err(detail) => {
                read.faulty += 1;
                if read.faults.len() < FAULTS_MAX {
                    read.faults.push(Fault { line, detail });
                }
            }
        }
    }
    Ok(read)
}

/// The lines on which the records of a file begin, without the header.
pub fn record_lines(file: &str) -> Vec<u64> {
    rows(csv::Reader::from_reader(file.as_bytes()), file.as_bytes()).map(|(line, _)| line).collect()
}

/// The records that `reader` finds in `text`, each with the line on which it begins.
fn rows<'a>(reader: csv::Reader<&'a [u8]>, text: &'a [u8]) -> impl Iterator<Item = (u64, ByteRecord)> {
    let mut lines = Lines::of(text);
    // A text in memory can always be read; whether it is UTF-8 is asked of each record.
    reader.into_byte_records().map_while(Result::ok).map(move |row| {
        let line = lines.of_record_at(row.position().map_or(0, csv::Position::byte));
        (line, row)
    })
}

/// Counts lines, so that records that come one after the other cost one pass over the text. The reader's own count does
/// not fit what an editor shows: for it a record begins where the one before ended, which is between a CR and its LF, or
/// before empty lines.
struct Lines<'a> {
    text: &'a [u8],
    /// How much of the text has been counted.
    counted: usize,
    /// The line on which that ends.
    line: u64,
}

impl<'a> Lines<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { text, counted: 0, line: 1 }
    }

    /// The line of the first character of a record that was read from `byte` on.
    fn of_record_at(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(self.text.len());
        let empty = self.text[byte..].iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = byte + empty;
        for at in self.counted..begin {
            let ends_line = match self.text[at] {
                b'\n' => true,
                b'\r' => self.text.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            self.line += u64::from(ends_line);
        }
        self.counted = begin;
        self.line
    }
}

fn record(
    row: &StringRecord,
    places: &[Option<usize>; COLUMNS.len()],
    region: Option<Region>,
    now: UnixMs,
) -> Result<Record, String> {
    let text = |column: usize| places[column].and_then(|place| row.get(place)).unwrap_or_default().trim();
    let phone = phone::person(text(0), region).map_err(|error| format!("phone_number: {error}"))?;
    let channel = ConsentChannel::parse(text(1)).ok_or("channel: must be sms, whatsapp or all")?;
    let state = ConsentState::parse(text(2))
        .filter(|state| matches!(state, ConsentState::OptedIn | ConsentState::OptedOut))
        .ok_or("state: must be opted_in or opted_out")?;
    let at = match text(4) {
        "" => None,
        at => {
            let at = at.parse().ok().and_then(UnixMs::from_timestamp);
            let at = at.ok_or("at: must be a time in RFC 3339, such as 2026-01-31T09:00:00Z")?;
            // It would win over what the person says until then.
            if at > now + CLOCK_SKEW_MAX {
                return Err("at: must not be in the future".to_owned());
            }
            Some(at)
        }
    };
    let evidence = without_mark(text(5));
    if evidence.chars().count() > EVIDENCE_CHARACTERS_MAX {
        return Err(format!("evidence: must have at most {EVIDENCE_CHARACTERS_MAX} characters"));
    }
    let evidence = Some(evidence.to_owned()).filter(|evidence| !evidence.is_empty());
    // A list of another system has its own words for sources.
    let claimed = ConsentSource::parse(text(3)).unwrap_or(ConsentSource::Import);
    let source = rights::source_of_file(claimed, state);
    Ok(Record { phone, channel, state, source, evidence, at })
}

/// The header of a file.
pub fn header() -> String {
    format!("{}\n", COLUMNS.join(","))
}

/// Lines of a file.
pub fn write(lines: &[Exported]) -> String {
    lines_of(lines.iter().map(|line| {
        let source = line.known.source.map(ConsentSource::as_str).unwrap_or_default();
        let channel = (line.channel.as_str(), line.known.state.as_str(), source);
        (line.phone.as_str(), channel, line.known.at, line.evidence.as_deref())
    }))
}

/// A file of `records`, which reads as they are.
pub fn write_records(records: &[FileRecord]) -> String {
    let lines = lines_of(records.iter().map(|FileRecord { record, .. }| {
        let channel = (record.channel.as_str(), record.state.as_str(), record.source.as_str());
        (record.phone.as_str(), channel, record.at, record.evidence.as_deref())
    }));
    header() + &lines
}

/// A line: whose, of which channel, state and source, since when, with what evidence.
type Line<'a> = (&'a str, (&'a str, &'a str, &'a str), Option<UnixMs>, Option<&'a str>);

fn lines_of<'a>(lines: impl Iterator<Item = Line<'a>>) -> String {
    let mut writer = WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for (phone, (channel, state, source), at, evidence) in lines {
        let at = at.map(time).unwrap_or_default();
        let evidence = marked(evidence.unwrap_or_default());
        let fields = [phone, channel, state, source, &at, &evidence];
        writer.write_record(fields).expect("a Vec takes everything that is written");
    }
    let bytes = writer.into_inner().expect("a Vec takes everything that is written");
    String::from_utf8(bytes).expect("texts are written")
}

/// By which spreadsheets know a text.
const MARK: char = '\'';

/// Whether a spreadsheet calculates `text`, or would without the marks in front. What nobody sees may be left out on the way
/// into a cell, and some programs take a tab or a line break in front for the end of a cell.
fn is_formula(text: &str) -> bool {
    let text = text.trim_start_matches(MARK);
    let is_unseen = |character: char| {
        let is_blank = character.is_whitespace() || character.is_control();
        is_blank
            || character == MARK
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    let begins = text.trim_start_matches(is_unseen);
    text.starts_with(['\t', '\r', '\n'])
        || begins.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}

/// `text` as it is written: a formula as a text. A mark that is the text's own counts as one more.
fn marked(text: &str) -> Cow<'_, str> {
    if is_formula(text) { format!("{MARK}{text}").into() } else { text.into() }
}

/// The text that [`marked`] has written.
fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).filter(|_| is_formula(text)).unwrap_or(text)
}

fn time(at: UnixMs) -> String {
    format!("{:.3}", at.to_timestamp().unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-02-01.
    const NOW: UnixMs = UnixMs::new(1_769_904_000_000);

    #[test]
    fn a_file_is_read_by_its_header_and_bad_lines_are_told_by_number() {
        let file = "\u{feff}state,channel,phone_number,at,evidence\n\
                    opted_out,sms,+1 (415) 555-0100,2026-01-31T09:00:00Z,\"said \"\"no\"\", twice\"\n\
                    opted_in,fax,+14155550101,,\n\
                    maybe,sms,+14155550101,,\n\
                    opted_in,all,12,,\n\
                    opted_in,all,+14155550102,tomorrow,\n\
                    opted_in,all,+14155550104,2029-01-01T00:00:00Z,\n\
                    opted_in,all,+14155550103\n";
        let read = read(file.as_bytes(), None, NOW).unwrap();
        let good: Vec<_> = read
            .records
            .iter()
            .map(|FileRecord { record, .. }| (record.phone.as_str(), record.channel))
            .collect();
        assert_eq!(good, [("+14155550100", ConsentChannel::Sms), ("+14155550103", ConsentChannel::All)]);
        assert_eq!(read.records[0].record.evidence.as_deref(), Some("said \"no\", twice"));
        assert_eq!(read.records[0].record.at, Some(UnixMs::new(1_769_850_000_000)));
        let lines: Vec<u64> = read.faults.iter().map(|fault| fault.line).collect();
        assert_eq!((lines, read.faulty), (vec![3, 4, 5, 6, 7], 5));
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let record = |line, phone: &str, source, evidence: Option<&str>, at| FileRecord {
            line,
            record: Record {
                phone: phone.parse().unwrap(),
                channel: ConsentChannel::All,
                state: ConsentState::OptedOut,
                source,
                evidence: evidence.map(str::to_owned),
                at,
            },
        };
        let records = [
            record(
                2,
                "+14155550100",
                ConsentSource::Keyword,
                Some("\"STOP\",\nhe said"),
                Some(UnixMs::new(1_769_850_000_001)),
            ),
            record(4, "+14155550101", ConsentSource::Import, None, None),
        ];
        let file = write_records(&records);
        let read = read(file.as_bytes(), None, NOW).unwrap();
        assert_eq!((read.records.as_slice(), read.faulty), (records.as_slice(), 0));
        assert_eq!(record_lines(&file), [2, 4]);
        let elsewhere = "phone_number,channel,state,source\n+14155550100,all,opted_out,crm\n";
        assert_eq!(
            super::read(elsewhere.as_bytes(), None, NOW).unwrap().records[0].record.source,
            ConsentSource::Import
        );
    }

    #[test]
    fn a_file_claims_a_persons_word_for_an_opt_out_alone() {
        let file = "phone_number,channel,state,source\n\
                    +14155550100,sms,opted_out,keyword\n\
                    +14155550100,sms,opted_in,keyword\n";
        let read = read(file.as_bytes(), None, NOW).unwrap();
        let sources: Vec<_> = read.records.iter().map(|line| line.record.source).collect();
        assert_eq!(sources, [ConsentSource::Keyword, ConsentSource::Import]);
    }

    #[test]
    fn a_formula_is_written_as_a_text() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2+3", "'-2+3"),
            ("+14155550100 said no", "'+14155550100 said no"),
            ("\t=cmd|' /C calc'!A0", "'\t=cmd|' /C calc'!A0"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("\u{feff}=1", "'\u{feff}=1"),
            ("\u{0}=1", "'\u{0}=1"),
            ("\tsaid no", "'\tsaid no"),
            ("\r\nsaid no", "'\r\nsaid no"),
            ("'=1", "''=1"),
            ("said = no", "said = no"),
            ("'quoted'", "'quoted'"),
            ("", ""),
        ] {
            assert_eq!(marked(text), written, "{text}");
        }
    }

    proptest! {
        #[test]
        fn evidence_reads_as_it_was_and_begins_no_formula(text in "[-=+@'\"a, \t\r\n\u{ff1d}\u{feff}\u{1b}]{0,6}") {
            let written = marked(&text);
            prop_assert_eq!(without_mark(&written), text.as_str());
            let begin = written.trim_start().chars().next();
            prop_assert!(!begin.is_some_and(|begin| "=+-@\u{ff1d}".contains(begin)), "{:?}", written);
            let record = Record {
                phone: "+14155550100".parse().unwrap(),
                channel: ConsentChannel::Sms,
                state: ConsentState::OptedOut,
                source: ConsentSource::Import,
                evidence: Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
                at: None,
            };
            let records = [FileRecord { line: 2, record }];
            let read = read(write_records(&records).as_bytes(), None, NOW).unwrap();
            prop_assert_eq!(read.records, records);
        }

        #[test]
        fn a_record_is_told_by_the_line_on_which_an_editor_shows_its_beginning(
            rows in prop::collection::vec(
                (any::<bool>(), prop::collection::vec(0..3_usize, 0..3), 0..3_usize, prop::collection::vec(0..3_usize, 0..3)),
                0..12,
            ),
            header_end in 0..3_usize,
        ) {
            const ENDS: [&str; 3] = ["\n", "\r\n", "\r"];
            let mut file = format!("evidence,phone_number,channel,state{}", ENDS[header_end]);
            let (mut good, mut bad) = (Vec::new(), Vec::new());
            for (is_good, inner, end, empty) in rows {
                let of_record = if is_good { &mut good } else { &mut bad };
                of_record.push(file.len());
                let text: String = inner.iter().map(|&end| format!("said,{}", ENDS[end])).collect();
                let channel = if is_good { "sms" } else { "fax" };
                file += &format!("\"{text}\",+14155550100,{channel},opted_out{}", ENDS[end]);
                file.extend(empty.into_iter().map(|end| ENDS[end]));
            }
            let line = |begin: &usize| {
                let before = file[..*begin].replace("\r\n", "\n").replace('\r', "\n");
                before.matches('\n').count() as u64 + 1
            };
            let read = read(file.as_bytes(), None, NOW).unwrap();
            let told: Vec<u64> = read.records.iter().map(|record| record.line).collect();
            prop_assert_eq!(told, good.iter().map(line).collect::<Vec<_>>());
            let told: Vec<u64> = read.faults.iter().map(|fault| fault.line).collect();
            prop_assert_eq!(told, bad.iter().map(line).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_file_without_its_columns_is_refused() {
        assert_eq!(read(b"", None, NOW), Err(InvalidFile::Column("phone_number")));
        assert_eq!(read(b"phone_number,channel\n", None, NOW), Err(InvalidFile::Column("state")));
        assert!(matches!(
            read(b"phone_number,channel,state,colour\n", None, NOW),
            Err(InvalidFile::Unknown(_))
        ));
    }
}
