//! Quantities of the API: `500m`, `2`, `1.5Gi`.

/// A quantity in thousandths, so that CPU requests are whole numbers. Text that is no quantity counts as nothing.
pub(crate) fn parse(quantity: &str) -> i128 {
    let end = quantity.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = whole.parse().unwrap_or(0);
    let thousandths: i128 = format!("{fraction:0<3}").get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let value = whole.saturating_mul(1000).saturating_add(thousandths);
    let binary = |power: u32| 1024_i128.pow(power);
    let decimal = |power: u32| 1000_i128.pow(power);
    match suffix {
        "m" => value / 1000,
        "Ki" => value * binary(1),
        "Mi" => value * binary(2),
        "Gi" => value * binary(3),
        "Ti" => value * binary(4),
        "Pi" => value * binary(5),
        "k" => value * decimal(1),
        "M" => value * decimal(2),
        "G" => value * decimal(3),
        "T" => value * decimal(4),
        "P" => value * decimal(5),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn quantities_compare_across_suffixes() {
        assert_eq!(parse("500m"), 500);
        assert_eq!(parse("2"), 2000);
        assert_eq!(parse("1.5Gi"), 1_610_612_736_000);
        assert!(parse("1Gi") > parse("1G"));
        assert_eq!(parse(""), 0);
    }
}
