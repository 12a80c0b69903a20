//! A sound list-append history of any length, made as it is taken.

use chaos::model::{Mop, OpType};
use chaos::workload::Draws;

/// Transactions that are open at once.
pub const CLIENTS: u64 = 8;
const LISTS: usize = 5;
const APPENDS_MAX: u64 = 64;

/// Eight clients at a time begin together, take effect one after the other and end together: the concurrency that real clients have, and a serial order.
pub fn appends(transactions: u64, take: &mut impl FnMut(OpType, u64, Vec<Mop>)) {
    let mut draws = Draws::new(1, 1);
    let mut lists: Vec<(u64, Vec<u64>)> = (1..=LISTS as u64).map(|key| (key, Vec::new())).collect();
    let mut next_key = LISTS as u64;
    for _ in 0..transactions / CLIENTS {
        let mut results = Vec::new();
        for _ in 0..CLIENTS {
            let mut done = Vec::new();
            for _ in 0..1 + draws.below(8) {
                let bits = draws.draw();
                let (key, list) = &mut lists[(bits >> 1).trailing_zeros() as usize % LISTS];
                if bits & 1 == 1 {
                    done.push(Mop::Read(*key, Some(list.clone())));
                    continue;
                }
                if list.len() as u64 == APPENDS_MAX {
                    next_key += 1;
                    (*key, *list) = (next_key, Vec::new());
                }
                list.push(list.len() as u64 + 1);
                done.push(Mop::Append(*key, list.len() as u64));
            }
            results.push(done);
        }
        for (client, done) in (0..).zip(&results) {
            take(OpType::Invoke, client, asked(done));
        }
        for (client, done) in (0..).zip(results) {
            take(OpType::Ok, client, done);
        }
    }
}

/// A transaction before it has read anything.
pub fn asked(done: &[Mop]) -> Vec<Mop> {
    done.iter()
        .map(|mop| match mop {
            Mop::Read(key, _) => Mop::Read(*key, None),
            append => append.clone(),
        })
        .collect()
}
