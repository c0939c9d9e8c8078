//! The rows of the report: every thing that can run out, with its limit and who says so.
//!
//! Always: a limit that nobody stated is `unknown`, never headroom; where one is missing the note names the key to set.

mod actors;
mod database;
mod disks;
mod engines;
mod guard;

use super::Facts;
use super::config::Config;
use super::report::Row;
use super::scaling::Effective;
use super::world::World;

/// More subjects of one kind than this are not listed; the fullest are.
const SUBJECTS_MAX: usize = 20;

/// What the rows are made of.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub world: &'a World,
    pub config: &'a Config,
    pub facts: &'a Facts,
    /// One for each installation of the world, in order.
    pub effective: &'a [Effective],
}

/// All rows, in the order of the report.
pub(super) fn rows(known: Known<'_>) -> Vec<Row> {
    let mut out = Vec::new();
    engines::rows(known, &mut out);
    actors::rows(known, &mut out);
    guard::rows(known, &mut out);
    database::rows(known, &mut out);
    disks::rows(known, &mut out);
    out
}

/// The fullest rows of one kind; the first says how many are left out.
fn fullest(mut rows: Vec<Row>) -> Vec<Row> {
    let all = rows.len();
    let left = |row: &Row| row.headroom_ratio.unwrap_or(f64::INFINITY);
    if all > SUBJECTS_MAX {
        rows.sort_by(|a, b| left(a).total_cmp(&left(b)));
        rows.truncate(SUBJECTS_MAX);
        if let Some(first) = rows.first_mut() {
            let more = format!("the fullest {SUBJECTS_MAX} of {all}");
            first.note = if first.note.is_empty() { more } else { format!("{}; {more}", first.note) };
        }
    }
    rows
}
