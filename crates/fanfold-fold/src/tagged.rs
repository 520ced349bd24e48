//! Enums stored as `{kind: {fields}}`, whose unknown kinds are kept as they came.

/// Declares an enum of payload structs with a stable text per variant, and an `Unknown` variant that holds what a later
/// release wrote, so that a record survives being read and written by an earlier one.
macro_rules! tagged {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $( $(#[$vdoc:meta])* $kind:literal => $variant:ident($payload:ty), )+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $( $(#[$vdoc])* $variant($payload), )+
            /// Of a kind that this build doesn't know. Kept, never interpreted.
            Unknown {
                /// The kind as it was written.
                kind: String,
                /// The fields as they were written.
                body: rmpv::Value,
            },
        }

        impl $name {
            /// The stored name of the variant.
            pub fn kind(&self) -> &str {
                match self {
                    $( Self::$variant(_) => $kind, )+
                    Self::Unknown { kind, .. } => kind,
                }
            }
        }

        $( impl From<$payload> for $name {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        } )+

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $( Self::$variant(payload) => map.serialize_entry($kind, payload)?, )+
                    Self::Unknown { kind, body } => map.serialize_entry(kind, body)?,
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// The key: a known one is told apart where it lies, without a copy.
                enum Kind {
                    $( $variant, )+
                    Unknown(String),
                }

                impl<'de> serde::Deserialize<'de> for Kind {
                    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        deserializer.deserialize_identifier(KindVisitor)
                    }
                }

                struct KindVisitor;
                impl serde::de::Visitor<'_> for KindVisitor {
                    type Value = Kind;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a kind")
                    }

                    fn visit_str<E: serde::de::Error>(self, kind: &str) -> Result<Kind, E> {
                        Ok(match kind {
                            $( $kind => Kind::$variant, )+
                            _ => Kind::Unknown(kind.to_owned()),
                        })
                    }
                }

                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a map of one kind to its fields")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let Some(kind) = map.next_key::<Kind>()? else {
                            return Err(serde::de::Error::custom("no kind"));
                        };
                        let value = match kind {
                            $( Kind::$variant => $name::$variant(map.next_value()?), )+
                            Kind::Unknown(kind) => $name::Unknown { kind, body: map.next_value()? },
                        };
                        match map.next_key::<serde::de::IgnoredAny>()? {
                            None => Ok(value),
                            Some(_) => Err(serde::de::Error::custom("more than one kind")),
                        }
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }
    };
}

pub(crate) use tagged;
