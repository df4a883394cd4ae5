//! Who uses the command line, as histories tell it.

use std::fs;

/// The longest name, in characters.
const NAME_CHARACTERS_MAX: usize = 255;

/// The accounts of this machine, a line each: the name, and as its third field the number.
const ACCOUNTS: &str = "/etc/passwd";

/// Reads a name.
pub(super) fn parse(name: &str) -> Result<String, String> {
    let characters = name.chars().count();
    if name.trim().is_empty() || characters > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
        return Err(format!("expected a name of 1 to {NAME_CHARACTERS_MAX} characters"));
    }
    Ok(name.to_owned())
}

/// The user as whom this process runs. The environment names one too, but anybody can set it to anything.
pub(in crate::commands) fn of_process() -> String {
    let id = rustix::process::getuid().as_raw();
    let accounts = fs::read_to_string(ACCOUNTS).unwrap_or_default();
    name_of(id, &accounts).map_or_else(|| format!("uid {id}"), str::to_owned)
}

fn name_of(id: u32, accounts: &str) -> Option<&str> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id) && parse(name).is_ok()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_of(1000, accounts), Some("ada"));
        assert_eq!(
            (name_of(0, accounts), name_of(1, accounts), name_of(7, accounts)),
            (Some("root"), None, None)
        );
        assert!(!of_process().is_empty());
    }

    #[test]
    fn a_name_has_characters_that_can_be_read() {
        assert_eq!(parse("Ada, support").as_deref(), Ok("Ada, support"));
        for wrong in ["", " ", "a\nb", &"a".repeat(NAME_CHARACTERS_MAX + 1)] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
