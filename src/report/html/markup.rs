//! Text in HTML.

use std::fmt::{self, Display, Formatter, Write};

use crate::model::{Outcome, Verdict};

/// Text of a run, escaped for content and for attribute values in double quotes.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(c)?,
                // What HTML does not allow at all.
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// JSON inside a script element: nothing in it can end the element.
pub(super) fn script_json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The class and the word of a verdict on a claim.
pub(super) fn claim_word(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Valid => ("valid", "✓ holds"),
        Verdict::Unknown => ("unknown", "? unknown"),
        Verdict::Invalid => ("invalid", "✗ broken"),
    }
}

/// The class and the word of a verdict on a check.
pub(super) fn check_word(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Valid => ("valid", "✓ valid"),
        Verdict::Unknown => ("unknown", "? unknown"),
        Verdict::Invalid => ("invalid", "✗ invalid"),
    }
}

/// The class and the word of a run's verdict.
pub(crate) fn outcome_word(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Pass => ("pass", "✓ PASS"),
        Outcome::Inconclusive => ("inconclusive", "? INCONCLUSIVE"),
        Outcome::Fail => ("fail", "✗ FAIL"),
    }
}

/// A list without bullets.
pub(super) fn plain_list<'a>(page: &mut String, items: impl Iterator<Item = &'a str>) {
    page.push_str("<ul class=\"plain\">");
    for item in items {
        let _ = write!(page, "<li>{}</li>", Text(item));
    }
    page.push_str("</ul>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(Text("<b a=\"1\" c='2'>&\u{7}").to_string(), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;\u{fffd}");
        assert_eq!(script_json(&serde_json::json!("</script><!--")), "\"\\u003c/script>\\u003c!--\"");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 22_284, 1_234_567].map(count), ["0", "999", "1,000", "22,284", "1,234,567"]);
    }
}
