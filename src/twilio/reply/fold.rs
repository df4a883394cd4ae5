//! Brings the spellings of a text into one, so that it can be compared with the words and wordings we know.
//!
//! The result is in upper case. Accents, marks without width, widths and styles of letters are gone; letters that
//! stand in for Latin ones among Latin ones are Latin. Blanks, lines and punctuation stay: what is a quotation, a
//! signature or a clause is seen by them.

use unicode_normalization::UnicodeNormalization;

use crate::twilio::segments::BODY_CHARACTERS_MAX;

/// The first [`BODY_CHARACTERS_MAX`] characters of `text`, folded, and of the result no more than as many: Unicode
/// has single characters that stand for eighteen. Folding twice changes nothing more.
pub(super) fn fold(text: &str) -> String {
    let end = text.char_indices().nth(BODY_CHARACTERS_MAX).map_or(text.len(), |(end, _)| end);
    let mut folded = String::with_capacity(end);
    let mut room = BODY_CHARACTERS_MAX;
    // No accent or mark that is left after a letter of ASCII makes another letter of it, so that the stretches of a
    // text between ASCII and the rest can be folded one by one, and most texts are ASCII but for an apostrophe.
    for stretch in text.as_bytes()[..end].chunk_by(|one, other| one.is_ascii() == other.is_ascii()) {
        let stretch = str::from_utf8(stretch).expect("a character is ASCII or is not");
        let before = folded.len();
        if stretch.is_ascii() {
            folded.push_str(&stretch[..stretch.len().min(room)]);
            folded[before..].make_ascii_uppercase();
        } else {
            folded.extend(folded_characters(stretch).take(room));
        }
        room -= folded[before..].chars().count();
    }
    with_latin_words(folded)
}

/// The folded characters of a text without ASCII.
fn folded_characters(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .filter(|&character| !has_no_width(character))
        .map(plain_letter)
        .nfkd()
        .filter(|&character| !is_accent(character) && !has_no_width(character))
        .map(plain_letter)
        .flat_map(upper_case)
        .nfc()
}

/// The word in Latin letters, if it has others and each looks like one: Cyrillic `ЕND`, Greek `ΕΝD`.
pub(super) fn as_latin(word: &str) -> Option<String> {
    if word.is_ascii() {
        return None;
    }
    word.chars().map(|letter| latin_look_alike(letter).or(letter.is_ascii().then_some(letter))).collect()
}

/// Whether `character` belongs to a word.
pub(super) fn is_of_word(character: char) -> bool {
    // The sign that joins two Devanagari consonants is no letter, and still in the middle of words.
    character.is_alphanumeric() || character == '\u{94d}'
}

/// Whether `character` is written without blanks around its words, so that each character is a word by itself.
pub(super) fn is_word_by_itself(character: char) -> bool {
    matches!(character, '\u{3005}' | '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Joiners, direction marks, variation selectors, soft hyphens: they come with copied texts and with emoji.
fn has_no_width(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{640}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The accents of Latin, Greek and Cyrillic, the points of Hebrew and Arabic, and the nukta of Devanagari, which
/// are left out when one writes in haste. Signs that are a vowel of their own stay.
fn is_accent(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5bd}' | '\u{5bf}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{93c}')
}

/// The letter that `character` shows, where Unicode does not say that it is the same; blanks that are drawn as
/// nothing; and the characters in which what people write for one letter differs from keyboard to keyboard.
fn plain_letter(character: char) -> char {
    match character {
        '🅐'..='🅩' => letter_after('A', character, '🅐'),
        '🅰'..='🆉' => letter_after('A', character, '🅰'),
        '🇦'..='🇿' => letter_after('A', character, '🇦'),
        'ᴀ' => 'A',
        'ʙ' => 'B',
        'ᴄ' => 'C',
        'ᴅ' => 'D',
        'ᴇ' => 'E',
        'ꜰ' => 'F',
        'ɢ' => 'G',
        'ʜ' => 'H',
        'ɪ' | 'ı' => 'I',
        'ᴊ' => 'J',
        'ᴋ' => 'K',
        'ʟ' | 'ł' | 'Ł' => 'L',
        'ᴍ' => 'M',
        'ɴ' => 'N',
        'ᴏ' | 'ø' | 'Ø' => 'O',
        'ᴘ' => 'P',
        'ʀ' => 'R',
        'ꜱ' => 'S',
        'ᴛ' => 'T',
        'ᴜ' => 'U',
        'ᴠ' => 'V',
        'ᴡ' => 'W',
        'ʏ' => 'Y',
        'ᴢ' => 'Z',
        'đ' | 'Đ' => 'D',
        // Alef maksura and ta marbuta, which are typed as ya and ha.
        'ى' => 'ي',
        'ة' => 'ه',
        '\u{2800}' | '\u{3164}' | '\u{115f}' | '\u{1160}' | '\u{ffa0}' => ' ',
        other => simplified(other),
    }
}

fn letter_after(first: char, character: char, first_of_style: char) -> char {
    let place = u32::from(character) - u32::from(first_of_style);
    char::from_u32(u32::from(first) + place).expect("a style has the 26 letters of the alphabet")
}

/// The simplified form of the traditional Chinese characters that our wordings hold.
fn simplified(character: char) -> char {
    const PAIRS: [(char, char); 36] = [
        ('請', '请'),
        ('發', '发'),
        ('聯', '联'),
        ('絡', '络'),
        ('從', '从'),
        ('單', '单'),
        ('刪', '删'),
        ('碼', '码'),
        ('號', '号'),
        ('訂', '订'),
        ('閱', '阅'),
        ('訊', '讯'),
        ('傳', '传'),
        ('個', '个'),
        ('給', '给'),
        ('錯', '错'),
        ('這', '这'),
        ('別', '别'),
        ('來', '来'),
        ('絕', '绝'),
        ('係', '系'),
        ('電', '电'),
        ('話', '话'),
        ('簡', '简'),
        ('們', '们'),
        ('認', '认'),
        ('識', '识'),
        ('興', '兴'),
        ('擾', '扰'),
        ('騷', '骚'),
        ('廣', '广'),
        ('謝', '谢'),
        ('現', '现'),
        ('報', '报'),
        ('銷', '销'),
        ('麼', '么'),
    ];
    if !('\u{4e00}'..='\u{9fff}').contains(&character) {
        return character;
    }
    PAIRS.iter().find(|(traditional, _)| *traditional == character).map_or(character, |pair| pair.1)
}

fn upper_case(character: char) -> impl Iterator<Item = char> {
    // No capital of its own in `to_uppercase`, and none that decomposes.
    let character = if character == 'ẞ' { 'ß' } else { character };
    character.to_uppercase().map(plain_letter)
}

/// The text with the letters of other alphabets made Latin in each word that has a Latin letter beside them. A word
/// that is wholly Greek or Cyrillic stays readable as what it is.
fn with_latin_words(text: String) -> String {
    if !text.contains(|letter| latin_look_alike(letter).is_some()) {
        return text;
    }
    let mut latin = String::with_capacity(text.len());
    for word in text.split_inclusive(|character: char| !character.is_alphanumeric()) {
        let is_mixed = word.chars().any(|letter| letter.is_ascii_alphabetic())
            && word.chars().any(|letter| latin_look_alike(letter).is_some());
        if is_mixed {
            latin.extend(word.chars().map(|letter| latin_look_alike(letter).unwrap_or(letter)));
        } else {
            latin.push_str(word);
        }
    }
    latin
}

/// The Latin capital that a Cyrillic or Greek one looks like.
fn latin_look_alike(letter: char) -> Option<char> {
    const OTHERS: &str = "АВЕКМНОРСТУХЅІЈԚԜҮҺӀԀЗΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹՏՕ";
    const LATIN: &[u8] = b"ABEKMHOPCTYXSIJQWYHIDZABEZHIKMNOPTYXCSO";
    if !('Α'..='Օ').contains(&letter) {
        return None;
    }
    OTHERS.chars().position(|other| other == letter).map(|place| char::from(LATIN[place]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_word_are_one() {
        for text in [
            "stop",
            "ＳＴＯＰ",
            "𝐒𝐓𝐎𝐏",
            "𝓼𝓽𝓸𝓹",
            "Ⓢⓣⓞⓟ",
            "🅂🅃🄾🄿",
            "🆂🆃🅾🅿",
            "🅢🅣🅞🅟",
            "🇸🇹🇴🇵",
            "ꜱᴛᴏᴘ",
            "ſtop",
            "s\u{301}t\u{308}op",
            "S\u{200b}TO\u{ad}P\u{feff}",
            "\u{202a}stop\u{202c}",
            "ѕtор",
            "STΟP",
        ] {
            assert_eq!(fold(text), "STOP", "{text}");
        }
        for (text, folded) in [
            ("arrêt", "ARRET"),
            ("İPTAL ıslak", "IPTAL ISLAK"),
            ("Straße", "STRASSE"),
            ("slået op", "SLAET OP"),
            ("ΔΙΑΚΟΠΉ στάσης", "ΔΙΑΚΟΠΗ ΣΤΑΣΗΣ"),
            ("СТОП", "СТОП"),
            ("إيقاف", "ايقاف"),
            ("請刪除", "请删除"),
            ("그만", "그만"),
            ("バス停", "バス停"),
            ("रोकें", "रोकें"),
            ("Stop!\n— “Bill”", "STOP!\n— “BILL”"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn a_word_of_look_alikes_alone_can_be_seen_as_latin() {
        assert_eq!(as_latin("ЅТОР").as_deref(), Some("STOP"));
        assert_eq!(as_latin("СТОП"), None);
    }

    #[test]
    fn no_more_characters_come_out_than_twilio_delivers() {
        assert_eq!(fold(&"x".repeat(1_000_000)).chars().count(), BODY_CHARACTERS_MAX);
        assert_eq!(fold(&"ﷺ".repeat(1_000)).chars().count(), BODY_CHARACTERS_MAX);
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_more(text in any::<String>(), printable in "\\PC{0,80}") {
            for text in [text, printable] {
                let folded = fold(&text);
                prop_assert_eq!(fold(&folded), folded);
            }
        }
    }
}
