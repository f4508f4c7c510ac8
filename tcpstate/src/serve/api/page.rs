//! Pages of the lists in which what there is more of comes first.

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::IntoParams;

use crate::serve::{
    params::{
        Pairs,
        cursor::{List, Place},
        limit,
    },
    problem::Problem,
};

/// Which page is asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::serve) struct PageParams {
    /// Entries on a page at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageParams {
    const NAMES: [&str; 2] = ["limit", "cursor"];
}

impl<S: Sync> FromRequestParts<S> for PageParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Pairs::of(&parts.uri, &Self::NAMES)?;
        Ok(Self {
            limit: pairs.get("limit", limit::parse)?,
            cursor: pairs.get("cursor", |cursor| Ok(cursor.to_owned()))?,
        })
    }
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// Entries on all pages together.
    pub(super) total: u64,
    pub(super) entries: Vec<T>,
    /// The `cursor` of the next page; `None` on the last one.
    pub(super) next_cursor: Option<String>,
}

impl PageParams {
    /// Whether this is the first page.
    pub(super) fn is_first(&self) -> bool {
        self.cursor.is_none()
    }

    /// The page of these entries, of which no two have the same place.
    ///
    /// # Errors
    /// 400 if the cursor is not one of this list.
    pub(super) fn page<T>(&self, list: List, mut entries: Vec<(Place, T)>) -> Result<Page<T>, Problem> {
        let total = entries.len() as u64;
        if let Some(cursor) = &self.cursor {
            let after = list.parse_place(cursor).map_err(|detail| Problem::parameter("cursor", detail))?;
            entries.retain(|(place, _)| *place > after);
        }
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let limit = self.limit.unwrap_or(limit::DEFAULT);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let end = entries.last().filter(|_| more);
        let next_cursor = end.map(|(place, _)| list.cursor_behind(place));
        Ok(Page { total, entries: entries.into_iter().map(|(_, entry)| entry).collect(), next_cursor })
    }
}
