//! The functions of expressions. Each module is one of upstream's libraries; [`implementation`] finds a function by its
//! full name. Functions choose by the values they get, as arguments of dynamic type have no other way.

pub(crate) mod arithmetic;
pub(crate) mod authorizer;
pub(crate) mod conversions;
pub(crate) mod format;
pub(crate) mod lists;
pub(crate) mod named_format;
pub(crate) mod network;
pub(crate) mod optional;
pub(crate) mod quantity;
pub(crate) mod semver;
pub(crate) mod strings;
pub(crate) mod time;
pub(crate) mod url;

use std::sync::Arc;

use crate::{
    eval::{EvalError, Outcome},
    value::Value,
};

/// A function: arguments in, receiver first, result out.
pub(crate) type Native = for<'v> fn(&[Value<'v>]) -> Outcome<'v>;

/// A value that only a library knows.
#[derive(Clone, Debug)]
pub enum Opaque<'v> {
    /// An amount.
    Quantity(Arc<api_types::quantity::Quantity>),
    /// An absolute URL.
    Url(Arc<url::Url>),
    /// An IP address.
    Ip(std::net::IpAddr),
    /// A range of IP addresses: address and length of prefix.
    Cidr(std::net::IpAddr, u8),
    /// A semantic version.
    Semver(Arc<semver::Version>),
    /// A named format.
    Format(&'static named_format::NamedFormat),
    /// Who may be asked what is allowed.
    Authorizer(authorizer::Asked<'v>),
    /// A question about a path.
    PathCheck(Arc<authorizer::PathCheck<'v>>),
    /// A question about a group.
    GroupCheck(Arc<authorizer::GroupCheck<'v>>),
    /// A question about a resource.
    ResourceCheck(Arc<authorizer::ResourceCheck<'v>>),
    /// What the answer was.
    Decision(Arc<authorizer::Verdict>),
}

impl Opaque<'_> {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(_) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(_) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(_) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Ip(std::net::IpAddr::V4(_)) => 4,
            Self::Ip(std::net::IpAddr::V6(_)) => 16,
            Self::Cidr(_, length) => u64::from(length.div_ceil(8)),
            _ => 1,
        }
    }

    pub(crate) fn equals(&self, other: &Self) -> Result<bool, EvalError> {
        Ok(match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, x), Self::Cidr(b, y)) => a == b && x == y,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            _ => return Err(EvalError::no_such_overload()),
        })
    }

    pub(crate) fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Quantity(quantity) => quantity.to_string(),
            Self::Url(url) => url.text.clone(),
            Self::Ip(address) => address.to_string(),
            Self::Cidr(address, length) => format!("{address}/{length}"),
            Self::Semver(version) => version.to_string(),
            _ => return None,
        })
    }
}

/// The function of that name, unless evaluation itself knows it.
pub(crate) fn implementation(name: &str) -> Option<Native> {
    arithmetic::find(name)
        .or_else(|| conversions::find(name))
        .or_else(|| time::find(name))
        .or_else(|| optional::find(name))
        .or_else(|| strings::find(name))
        .or_else(|| lists::find(name))
        .or_else(|| url::find(name))
        .or_else(|| network::find(name))
        .or_else(|| quantity::find(name))
        .or_else(|| semver::find(name))
        .or_else(|| named_format::find(name))
        .or_else(|| authorizer::find(name))
}

/// The arguments do not suit the function.
pub(crate) fn unsuited<'v>(name: &str) -> Outcome<'v> {
    Err(EvalError::new(format!("no such overload: {name}")))
}

/// Nothing made by one call may be larger: costs are counted when a call is over.
pub(crate) const LARGEST: usize = 64 << 20;

/// Refuses what would be larger than anything may be.
pub(crate) fn bounded(size: Option<usize>) -> Result<(), EvalError> {
    match size {
        Some(size) if size <= LARGEST => Ok(()),
        _ => Err(EvalError::cost_exceeded()),
    }
}
