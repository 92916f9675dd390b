//! What is printed.

mod json;
mod svg;
mod table;

pub(crate) use self::json::json;
#[allow(unused_imports)]
pub(crate) use self::svg::{Bar, chart};
pub(crate) use self::table::{Table, outcome_table};
