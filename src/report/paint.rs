//! Colour and line breaks for terminals.

/// What a piece of text means, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Good,
    Doubt,
    Bad,
    Title,
}

/// Colours text, or does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) colour: bool,
}

impl Paint {
    pub(super) fn ink(self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Good => "1;32",
            Ink::Doubt => "1;33",
            Ink::Bad => "1;31",
            Ink::Title => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Breaks text at spaces so that no line is longer than `width`, the first one indented by `first`, the others by `rest` blanks. A word that is longer than a
/// line is cut.
pub(crate) fn wrap(text: &str, width: usize, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(first);
    let mut used = first;
    let mut empty = true;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let gap = usize::from(!empty);
            if used + gap + word.len() <= width {
                if !empty {
                    line.push(' ');
                }
                line.extend(&word);
                used += gap + word.len();
                empty = false;
                break;
            }
            let room = width.saturating_sub(rest).max(1);
            if empty {
                let tail = word.split_off(room.min(width.saturating_sub(used).max(1)));
                line.extend(&word);
                word = tail;
            }
            lines.push(std::mem::replace(&mut line, " ".repeat(rest)));
            used = rest;
            empty = true;
            if word.is_empty() {
                break;
            }
        }
    }
    if !empty {
        lines.push(line);
    }
    lines
}

/// Cuts text to a number of characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No line is too long and no word is lost.
        #[test]
        fn wrapping_keeps_the_width_and_every_letter(
            text in "[a-zé ]{0,200}",
            width in 10usize..40,
            first in 0usize..6,
            rest in 0usize..6,
        ) {
            let lines = wrap(&text, width, first, rest);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{:?}", lines);
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
