//! Selectors of devices (`dynamic-resource-allocation/cel`): what they may name, and whether a device is selected. Who
//! validates them and who allocates devices by them go by this one place.

use std::sync::{Arc, LazyLock};

use api_types::quantity::Quantity;

use crate::{
    declared::Declared,
    environment::{Environment, Library, Program},
    eval::{Activation, EvalError},
    library::{Opaque, semver},
    types::Type,
    value::{Made, Map, Text, Value},
};

/// What a selector may cost at most (`CELSelectorExpressionMaxCost`).
pub const COST_MAX: u64 = 1_000_000;

/// A checked selector of devices.
#[derive(Debug)]
pub struct Selector(Program);

/// A device, as selectors see it.
#[derive(Clone, Debug, Default)]
pub struct Device<'v> {
    /// Whose it is: the domain of names that have none.
    pub driver: &'v str,
    /// What is said of it.
    pub attributes: Vec<(&'v str, Attribute<'v>)>,
    /// What there is of it.
    pub capacity: Vec<(&'v str, &'v Quantity)>,
    /// Several may have parts of it.
    pub allow_multiple_allocations: bool,
}

/// Something that is said of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'v> {
    /// A number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(&'v str),
    /// A semantic version.
    Version(&'v str),
    /// Something of a later version of the API.
    Unknown,
}

/// Compiles a selector of devices.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn compile(expression: &str) -> Result<Program, String> {
    static DEVICE: LazyLock<Environment> = LazyLock::new(|| {
        Environment::new().with_library(Library::Bindings).with_declared("device", &declared())
    });
    let program = DEVICE.compile(expression).map_err(|why| format!("{}: {why}", why.stage()))?;
    let output = program.output();
    if ![Type::Bool, Type::Dyn].iter().any(|of| of.is(output)) {
        return Err(format!("must evaluate to bool or the unknown type, not {}", output.go_name()));
    }
    Ok(program)
}

/// A device, with the limits of what a ResourceSlice may say of it.
fn declared() -> Arc<Declared> {
    let by_domain = |value: Arc<Declared>| Declared::map(Declared::map(value, 32), 32);
    Declared::object(
        "kubernetes.DRADevice",
        [
            ("driver", Declared::string(63)),
            ("attributes", by_domain(Declared::any_within(64))),
            ("capacity", by_domain(Declared::named(Type::named("kubernetes.Quantity")))),
            ("allowMultipleAllocations", Declared::bool()),
        ],
    )
}

impl Selector {
    /// Compiles a selector.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn compile(expression: &str) -> Result<Self, String> {
        compile(expression).map(Self)
    }

    /// Whether a device is selected.
    ///
    /// # Errors
    /// The expression has no value, or one that says neither yes nor no.
    pub fn selects(&self, device: &Device<'_>) -> Result<bool, String> {
        let activation = Activation::default().with("device", device.value()?);
        let value = self.0.evaluate_within(&activation, COST_MAX).result.map_err(|why| why.to_string())?;
        value
            .as_bool()
            .ok_or_else(|| format!("CEL result of type {} could not be converted to bool", value.type_name()))
    }
}

impl<'v> Device<'v> {
    fn value(&self) -> Result<Value<'v>, String> {
        let of_attribute = |(name, attribute): &(&'v str, Attribute<'v>)| {
            let value = match attribute {
                Attribute::Int(value) => Value::Int(*value),
                Attribute::Bool(value) => Value::Bool(*value),
                Attribute::Text(text) => Value::String(Text::Borrowed(text)),
                Attribute::Version(text) => semver::parse(text)
                    .map_err(|why| format!("attribute {name}: parse semantic version: {why}"))?,
                Attribute::Unknown => return Err(format!("attribute {name}: unsupported attribute value")),
            };
            Ok((*name, value))
        };
        let attributes = self.attributes.iter().map(of_attribute).collect::<Result<Vec<_>, String>>()?;
        let of_capacity = |(name, amount): &(&'v str, &'v Quantity)| {
            (*name, Value::Opaque(Opaque::Quantity(Arc::new((*amount).clone()))))
        };
        let capacity = self.capacity.iter().map(of_capacity).collect();
        let whole = [
            ("driver", Value::String(Text::Borrowed(self.driver))),
            ("attributes", self.by_domain(attributes).map_err(|why| why.to_string())?),
            ("capacity", self.by_domain(capacity).map_err(|why| why.to_string())?),
            ("allowMultipleAllocations", Value::Bool(self.allow_multiple_allocations)),
        ];
        made(whole).map_err(|why| why.to_string())
    }

    /// What is named, by the domains of the names. A domain that names nothing is empty, not missing.
    fn by_domain(&self, named: Vec<(&'v str, Value<'v>)>) -> Result<Value<'v>, EvalError> {
        let mut domains: Vec<(&'v str, Vec<(&'v str, Value<'v>)>)> = Vec::new();
        for (name, value) in named {
            let (domain, name) = name.split_once('/').unwrap_or((self.driver, name));
            match domains.iter_mut().find(|(known, _)| *known == domain) {
                Some((_, entries)) => entries.push((name, value)),
                None => domains.push((domain, vec![(name, value)])),
            }
        }
        let mut all = Made::default().with_absent(Value::Map(Map::Made(Arc::default())));
        for (domain, entries) in domains {
            all.insert(Value::String(Text::Borrowed(domain)), made(entries)?)?;
        }
        Ok(Value::Map(Map::Made(Arc::new(all))))
    }
}

fn made<'v>(entries: impl IntoIterator<Item = (&'v str, Value<'v>)>) -> Result<Value<'v>, EvalError> {
    let mut made = Made::default();
    for (name, value) in entries {
        made.insert(Value::String(Text::Borrowed(name)), value)?;
    }
    Ok(Value::Map(Map::Made(Arc::new(made))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_true_or_false() {
        for (expression, wrong) in [
            ("true", None),
            ("device.driver == 'gpu.example.com'", None),
            (
                "device.attributes['gpu.example.com'].model == 'a' && device.attributes['x'].?cores.orValue(0) > 3",
                None,
            ),
            ("device.attributes['gpu.example.com'].ok", None),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('1Gi')) >= 0", None),
            ("device.attributes['a'].version.isGreaterThan(semver('1.0.0'))", None),
            ("device.attributes['a'].name.matches('^x.*y$')", None),
            ("cel.bind(dra, device.attributes['a'], dra.one && dra.another)", None),
            ("device.allowMultipleAllocations", None),
            ("'a'", Some("must evaluate to bool or the unknown type, not string")),
            ("device.nope == 1", Some("compilation failed: ERROR: <input>:1:7: undefined field 'nope'")),
            (
                "noSuchVar",
                Some("compilation failed: ERROR: <input>:1:1: undeclared reference to 'noSuchVar'"),
            ),
        ] {
            match (compile(expression), wrong) {
                (Ok(_), None) => {}
                (Err(why), Some(wrong)) => {
                    assert!(why.starts_with(wrong), "{expression}: {why}")
                }
                (other, _) => panic!("{expression}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_a_selector_may_cost_is_told_from_the_limits_of_devices() {
        let attribute = "device.attributes['dra.example.com'].name";
        let nested = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, \
                      device.attributes.all(d, a == b || c == d))))";
        for (expression, expected) in [
            ("true".to_owned(), 0),
            ("'no-such-domain' in device.attributes".to_owned(), 3),
            ("device.driver == ''".to_owned(), 2),
            ("device.driver == 'dra.example.com'".to_owned(), 4),
            (attribute.to_owned(), 4),
            ("device.attributes['dra.example.com']['name']".to_owned(), 4),
            ("cel.bind(dra, device.attributes['dra.example.com'], dra.name)".to_owned(), 15),
            (format!("{attribute} > 0"), 5),
            (format!("{attribute} == 'fish'"), 5),
            (format!("{attribute}.size() == 2"), 6),
            (format!("{attribute}.exists(x, x > 0)"), 5 + (3 + 3) * 64),
            (format!("{attribute}.all(x, x != '')"), 5 + (2 + 2) * 64),
            (format!("{attribute}.all(x, x.isGreaterThan(semver('0.0.1')))"), 5 + (2 + 4) * 64),
        ] {
            assert_eq!(compile(&expression).unwrap().estimate(), expected, "{expression}");
        }
        assert!(compile(nested).unwrap().estimate() > COST_MAX);
    }

    #[test]
    fn a_device_is_selected_by_what_is_said_of_it() {
        let memory: Quantity = "80Gi".parse().unwrap();
        let device = Device {
            driver: "gpu.example.com",
            attributes: vec![
                ("model", Attribute::Text("h100")),
                ("gpu.example.com/index", Attribute::Int(3)),
                ("resource.kubernetes.io/numa", Attribute::Int(1)),
                ("driverVersion", Attribute::Version("1.10.0")),
                ("healthy", Attribute::Bool(true)),
            ],
            capacity: vec![("memory", &memory)],
            allow_multiple_allocations: true,
        };
        for (expression, expected) in [
            ("device.driver == 'gpu.example.com'", Ok(true)),
            ("device.attributes['gpu.example.com'].model == 'h100'", Ok(true)),
            ("device.attributes['gpu.example.com'].index == 3", Ok(true)),
            ("device.attributes['resource.kubernetes.io'].numa == 0", Ok(false)),
            ("device.attributes['gpu.example.com'].driverVersion.isGreaterThan(semver('1.9.0'))", Ok(true)),
            ("device.attributes['gpu.example.com'].healthy", Ok(true)),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) > 0", Ok(true)),
            ("device.allowMultipleAllocations", Ok(true)),
            // Domains that name nothing are empty.
            ("device.attributes['none'].?x.orValue(7) == 7", Ok(true)),
            ("has(device.attributes['none'].x)", Ok(false)),
            ("'none' in device.attributes", Ok(false)),
            ("'gpu.example.com' in device.attributes", Ok(true)),
            ("device.attributes['gpu.example.com'].nope == 1", Err("no such key: nope")),
            ("device.attributes['none'].x == 1", Err("no such key: x")),
            ("device.attributes['gpu.example.com'].model", Err("CEL result of type string could not be")),
        ] {
            let found = Selector::compile(expression).unwrap().selects(&device);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{expression}"),
                (Err(found), Err(expected)) => assert!(found.starts_with(expected), "{expression}: {found}"),
                (found, _) => panic!("{expression}: {found:?}"),
            }
        }
        let unknown = Device { attributes: vec![("x", Attribute::Unknown)], ..device };
        assert_eq!(
            Selector::compile("true").unwrap().selects(&unknown),
            Err("attribute x: unsupported attribute value".to_owned())
        );
    }
}
