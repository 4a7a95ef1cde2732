//! The parameters of queries and the members of JSON bodies. [`fields!`] declares each of them once; reading, refusals and
//! documentation follow from the declaration. The fields of a route are declared at the route.

use std::borrow::Cow;

use utoipa::openapi::{
    ObjectBuilder, Ref, RefOr, Required, Schema,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::{AdditionalProperties, OneOfBuilder, Type},
};

use super::{error::Problem, given::Given};

/// The value of a field.
pub(crate) trait Field: Sized {
    /// True if JSON quotes the value; false for numbers.
    const QUOTED: bool = true;

    /// Reads a value; the error completes the sentence "the field ...".
    fn read(text: &str) -> Result<Self, String>;

    /// Describes valid values.
    fn fix() -> Cow<'static, str>;

    /// The schema in the contract.
    fn schema() -> RefOr<Schema>;

    /// The default value; `None` if the field is required.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Field> Field for Option<T> {
    const QUOTED: bool = T::QUOTED;

    fn read(text: &str) -> Result<Self, String> {
        T::read(text).map(Some)
    }

    fn fix() -> Cow<'static, str> {
        T::fix()
    }

    fn schema() -> RefOr<Schema> {
        T::schema()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// The fields of a query or a body, as [`fields!`] implements them.
pub(crate) trait Fields: Sized {
    /// All fields, in the order of the documents.
    fn declared() -> Vec<Declared>;

    /// Reads the declared fields and ignores others.
    fn read(given: &Given<'_>) -> Result<Self, Problem>;
}

/// One field of a query or a body.
pub(crate) struct Declared {
    pub(super) name: &'static str,
    text: &'static str,
    example: Option<&'static str>,
    required: bool,
    schema: fn() -> RefOr<Schema>,
}

impl Declared {
    pub(crate) fn new<T: Field>(
        name: &'static str,
        text: &'static str,
        example: Option<&'static str>,
    ) -> Self {
        Self {
            name,
            text: text.trim_start(),
            example,
            required: T::absent().is_none(),
            schema: T::schema,
        }
    }
}

/// Defines a struct of fields. The doc comment of a field is its text in the contract; `= example` replaces the example of its type.
/// `..name: Type` includes the fields of another such struct.
macro_rules! fields {
    (
        $(#[doc = $about:literal])+
        pub(super) struct $name:ident {
            $($(#[doc = $text:literal])+ $field:ident: $type:ty $(= $example:literal)?,)*
            $(..$group:ident: $group_type:ty,)*
        }
    ) => {
        $(#[doc = $about])+
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
            $(pub(crate) $group: $group_type,)*
        }

        impl $crate::routes::fields::Fields for $name {
            fn declared() -> Vec<$crate::routes::fields::Declared> {
                [
                    vec![$($crate::routes::fields::Declared::new::<$type>(
                        stringify!($field),
                        concat!($($text),+),
                        [$($example,)?].first().copied(),
                    ),)*],
                    $(<$group_type as $crate::routes::fields::Fields>::declared(),)*
                ]
                .into_iter()
                .flatten()
                .collect()
            }

            fn read(given: &$crate::routes::given::Given<'_>) -> Result<Self, $crate::routes::error::Problem> {
                Ok(Self {
                    $($field: given.field(stringify!($field))?,)*
                    $($group: <$group_type as $crate::routes::fields::Fields>::read(given)?,)*
                })
            }
        }

        impl utoipa::IntoParams for $name {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                $crate::routes::fields::parameters::<Self>()
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::routes::fields::object::<Self>(concat!($($about),+))
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use fields;

/// The fields as parameters of a query.
pub(crate) fn parameters<T: Fields>() -> Vec<Parameter> {
    let parameter = |field: Declared| {
        ParameterBuilder::new()
            .name(field.name)
            .parameter_in(ParameterIn::Query)
            .description(Some(field.text))
            .example(field.example.map(Into::into))
            .required(if field.required {
                Required::True
            } else {
                Required::False
            })
            .schema(Some((field.schema)()))
            .build()
    };
    T::declared().into_iter().map(parameter).collect()
}

/// The fields as members of a body without other members. Optional members may be null.
pub(crate) fn object<T: Fields>(about: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(about.trim_start()))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let with_member = |object: ObjectBuilder, field: Declared| {
        let mut schema = (field.schema)();
        match &mut schema {
            RefOr::Ref(reference) => field.text.clone_into(&mut reference.description),
            RefOr::T(Schema::Object(object)) => object.description = Some(field.text.to_owned()),
            RefOr::T(_) => {}
        }
        if field.required {
            return object.property(field.name, schema).required(field.name);
        }
        let null = ObjectBuilder::new().schema_type(Type::Null);
        object.property(field.name, OneOfBuilder::new().item(schema).item(null))
    };
    let object = T::declared().into_iter().fold(object, with_member);
    object.into()
}

/// A schema by its name.
pub(super) fn reference<T: utoipa::ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// The names as a list for people: `a, b or c`.
pub(super) fn alternatives<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
