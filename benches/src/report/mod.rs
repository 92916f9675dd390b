//! What is printed.

mod json;
mod svg;
mod table;

pub(crate) use self::json::json;
pub(crate) use self::svg::{Bar, chart};
pub(crate) use self::table::{Table, outcome_table};
