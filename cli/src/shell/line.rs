//! A line of the shell as words: spaces part them, quotes keep them together, `#` begins a comment.

use anyhow::bail;

/// The words of a line.
///
/// # Errors
/// When a quote is not closed.
pub(super) fn split(line: &str) -> anyhow::Result<Vec<String>> {
    let words = words(line);
    if words.open_quote {
        bail!("a quote is not closed")
    }
    Ok(words.done)
}

/// The words before the cursor, and the one that is being typed with the place where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// Finished words.
    pub words: Vec<String>,
    /// The one at the cursor; empty after a space.
    pub word: String,
    /// Where that begins in the line, in bytes.
    pub start: usize,
}

/// What has been typed up to the end of `line`.
pub(super) fn typed(line: &str) -> Typed {
    let mut words = words(line);
    let ends_in_a_word = words.open_quote || words.last_start.is_some_and(|(_, end)| end == line.len());
    match words.last_start.filter(|_| ends_in_a_word) {
        Some((start, _)) => {
            let word = words.done.pop().unwrap_or_default();
            Typed { words: words.done, word, start }
        }
        None => Typed { words: words.done, word: String::new(), start: line.len() },
    }
}

struct Words {
    done: Vec<String>,
    /// Where the last word begins and ends.
    last_start: Option<(usize, usize)>,
    open_quote: bool,
}

fn words(line: &str) -> Words {
    let mut words = Words { done: Vec::new(), last_start: None, open_quote: false };
    let mut word: Option<(usize, String)> = None;
    let mut quote = None;
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), letter) => word.get_or_insert((at, String::new())).1.push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert((at, String::new()));
            }
            (None, '#') if word.is_none() => break,
            (None, letter) if letter.is_whitespace() => {
                if let Some((start, text)) = word.take() {
                    words.last_start = Some((start, at));
                    words.done.push(text);
                }
            }
            (None, letter) => word.get_or_insert((at, String::new())).1.push(letter),
        }
    }
    if let Some((start, text)) = word {
        words.last_start = Some((start, line.len()));
        words.done.push(text);
    }
    words.open_quote = quote.is_some();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_people_expect() {
        let check = |line: &str, expected: &[&str]| assert_eq!(split(line).unwrap(), expected, "{line}");
        check("", &[]);
        check("  nodes  ", &["nodes"]);
        check("agents run a \"what is it?\" # a question", &["agents", "run", "a", "what is it?"]);
        check("# only a comment", &[]);
        check("a#b 'c d'e \"\"", &["a#b", "c de", ""]);
        assert!(split("pause 'x").is_err());
    }

    #[test]
    fn the_word_at_the_cursor_is_known_with_its_place() {
        let check = |line: &str, words: &[&str], word: &str, start: usize| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(typed(line), Typed { words, word: word.to_owned(), start }, "{line:?}");
        };
        check("", &[], "", 0);
        check("no", &[], "no", 0);
        check("nodes ", &["nodes"], "", 6);
        check("nodes sh", &["nodes"], "sh", 6);
        check("run \"a b", &["run"], "a b", 4);
    }
}
