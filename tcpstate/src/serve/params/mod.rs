//! Query parameters, read strictly: a name that is not known, or one that is given twice, is an error and
//! not a filter that silently does nothing.

pub mod bytes;
pub(super) mod cursor;
pub mod duration;
pub(super) mod limit;
pub(super) mod number;
pub mod state;

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};

use utoipa::openapi::{Object, ObjectBuilder, Type};

use super::problem::Problem;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Reads the query string of a route that knows these parameters.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| Problem::query())?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Problem::parameter(name, unknown(name, known)));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, format!("`{name}` is given twice; give it once")));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter, if it is given. `parse` says in a sentence what would be right.
    pub(super) fn get<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let given = self.0.iter().find(|(known, _)| known == name);
        given.map(|(_, value)| parse(value).map_err(|detail| Problem::parameter(name, detail))).transpose()
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("there is no parameter `{name}` here: this route takes none");
    }
    format!("there is no parameter `{name}` here; there are {}", known.join(", "))
}

/// Describes a parameter that is one of these words.
pub(super) fn one_of<const N: usize>(words: [&'static str; N]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

/// A route that takes no parameters.
#[derive(Debug)]
pub(super) struct NoParams;

impl<S: Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Pairs::of(&parts.uri, &[]).map(|_| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Result<Pairs, Problem> {
        Pairs::of(&format!("/x?{query}").parse().unwrap(), &["a", "b"])
    }

    #[test]
    fn values_are_percent_decoded() {
        let value = pairs("b=%5B%3A%3A1%5D").unwrap().get("b", |value| Ok(value.to_owned())).unwrap();
        assert_eq!(value.as_deref(), Some("[::1]"));
    }

    #[test]
    fn a_parameter_that_is_not_given_is_none() {
        assert_eq!(pairs("a=1").unwrap().get("b", |_| Ok(())).unwrap(), None);
        assert_eq!(pairs("").unwrap().get("b", |_| Ok(())).unwrap(), None);
    }

    #[test]
    fn an_unknown_name_and_a_double_one_are_named() {
        for (query, field) in [("c=1", "c"), ("a=1&A=2", "A"), ("a=1&b=1&a=1", "a"), ("=1", "")] {
            let problem = pairs(query).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)), "{query}");
        }
    }
}
