//! LIKE: `%`, `_`, `[set]`, `[^set]`, ESCAPE; case-insensitive as the default collation is.

/// Whether `s` matches `pattern`. Backtracks to the last `%` only, so the cost is at most the product of the lengths.
pub fn like(s: &str, pattern: &str, esc: Option<char>) -> bool {
    let s: Vec<char> = s.to_lowercase().chars().collect();
    let p = compile(&pattern.to_lowercase(), esc.map(|c| c.to_lowercase().next().unwrap_or(c)));
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while i < s.len() {
        match p.get(j) {
            Some(Piece::Many) => {
                star = Some((j, i));
                j += 1;
                continue;
            }
            Some(piece) if piece.hits(s[i]) => {
                i += 1;
                j += 1;
                continue;
            }
            _ => {}
        }
        match &mut star {
            Some((at, from)) => {
                *from += 1;
                i = *from;
                j = *at + 1;
            }
            // Trailing blanks of the value do not count.
            None => return j == p.len() && s[i..].iter().all(|c| *c == ' '),
        }
    }
    p[j..].iter().all(|x| matches!(x, Piece::Many))
}

enum Piece {
    Many,
    Any,
    One(char),
    Set(Vec<(char, char)>, bool),
}

impl Piece {
    fn hits(&self, c: char) -> bool {
        match self {
            Piece::Many => false,
            Piece::Any => true,
            Piece::One(x) => *x == c,
            Piece::Set(ranges, not) => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *not,
        }
    }
}

fn compile(p: &str, esc: Option<char>) -> Vec<Piece> {
    let c: Vec<char> = p.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < c.len() {
        if Some(c[i]) == esc && i + 1 < c.len() {
            out.push(Piece::One(c[i + 1]));
            i += 2;
            continue;
        }
        if c[i] == '['
            && let Some(end) = c[i + 1..].iter().position(|x| *x == ']').filter(|n| *n > 0).map(|n| i + 1 + n)
        {
            let not = c[i + 1] == '^';
            let set = &c[i + 1 + usize::from(not)..end];
            let mut ranges = Vec::new();
            let mut k = 0;
            while k < set.len() {
                if k + 2 < set.len() && set[k + 1] == '-' {
                    ranges.push((set[k], set[k + 2]));
                    k += 3;
                } else {
                    ranges.push((set[k], set[k]));
                    k += 1;
                }
            }
            out.push(Piece::Set(ranges, not));
            i = end + 1;
            continue;
        }
        out.push(match c[i] {
            '%' => Piece::Many,
            '_' => Piece::Any,
            x => Piece::One(x),
        });
        i += 1;
    }
    out
}
