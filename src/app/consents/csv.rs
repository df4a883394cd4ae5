//! Consent as a CSV file: `phone_number,channel,state,source,at,evidence`, found by the names in the header.

use std::time::Duration;

use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use jiff::Timestamp;

use super::record::Exported;
pub use super::record::Record;
use crate::{
    domain::{
        UnixMs,
        consent::{ConsentChannel, ConsentSource, ConsentState},
    },
    phone::{self, Region},
};

/// The columns, in the order in which they are written.
pub const COLUMNS: [&str; 6] = ["phone_number", "channel", "state", "source", "at", "evidence"];

/// The longest evidence, in characters.
pub const EVIDENCE_CHARACTERS_MAX: usize = 1_000;

/// Bad lines that are told one by one; all are counted.
pub const FAULTS_MAX: usize = 1_000;

/// How far the clock of whoever wrote a file may be ahead of ours.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line; the header is line 1.
    pub line: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// The good lines, in their order.
    pub records: Vec<Record>,
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
    for row in reader.into_records() {
        let (line, record) = match row {
            Ok(row) => (row.position().map_or(0, csv::Position::line), record(&row, &places, region, now)),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                (line, Err("is not CSV in UTF-8".to_owned()))
            }
        };
        match record {
            Ok(record) => read.records.push(record),
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
    let evidence = text(5);
    if evidence.chars().count() > EVIDENCE_CHARACTERS_MAX {
        return Err(format!("evidence: must have at most {EVIDENCE_CHARACTERS_MAX} characters"));
    }
    let evidence = Some(evidence.to_owned()).filter(|evidence| !evidence.is_empty());
    // A list of another system's has words of its own.
    let source = ConsentSource::parse(text(3)).unwrap_or(ConsentSource::Import);
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
pub fn write_records(records: &[Record]) -> String {
    let lines = lines_of(records.iter().map(|record| {
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
        let fields = [phone, channel, state, source, &at, evidence.unwrap_or_default()];
        writer.write_record(fields).expect("a Vec takes everything that is written");
    }
    let bytes = writer.into_inner().expect("a Vec takes everything that is written");
    String::from_utf8(bytes).expect("texts are written")
}

fn time(at: UnixMs) -> String {
    format!("{:.3}", at.to_timestamp().unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
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
        let good: Vec<_> =
            read.records.iter().map(|record| (record.phone.as_str(), record.channel)).collect();
        assert_eq!(good, [("+14155550100", ConsentChannel::Sms), ("+14155550103", ConsentChannel::All)]);
        assert_eq!(read.records[0].evidence.as_deref(), Some("said \"no\", twice"));
        assert_eq!(read.records[0].at, Some(UnixMs::new(1_769_850_000_000)));
        let lines: Vec<u64> = read.faults.iter().map(|fault| fault.line).collect();
        assert_eq!((lines, read.faulty), (vec![3, 4, 5, 6, 7], 5));
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let record = |phone: &str, source, evidence: Option<&str>, at| Record {
            phone: phone.parse().unwrap(),
            channel: ConsentChannel::All,
            state: ConsentState::OptedOut,
            source,
            evidence: evidence.map(str::to_owned),
            at,
        };
        let records = [
            record(
                "+14155550100",
                ConsentSource::Keyword,
                Some("\"STOP\",\nhe said"),
                Some(UnixMs::new(1_769_850_000_001)),
            ),
            record("+14155550101", ConsentSource::Import, None, None),
        ];
        let read = read(write_records(&records).as_bytes(), None, NOW).unwrap();
        assert_eq!((read.records.as_slice(), read.faulty), (records.as_slice(), 0));
        let elsewhere = "phone_number,channel,state,source\n+14155550100,all,opted_out,crm\n";
        assert_eq!(
            super::read(elsewhere.as_bytes(), None, NOW).unwrap().records[0].source,
            ConsentSource::Import
        );
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
