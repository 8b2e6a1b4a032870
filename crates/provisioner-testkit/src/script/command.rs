//! The commands of a scenario.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use provisioner::internal::domain::duration;
use provisioner::internal::domain::money::UsdPerHour;

use provisioner_sim::queue::Knowledge;

/// The command of one line.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Stage(Set),
    Play(Act),
}

/// A command that sets the stage.
#[derive(Clone, Debug)]
pub(super) enum Set {
    WorkerType {
        name: String,
        instance_types: Vec<String>,
        properties: Vec<Property>,
    },
    Zones(Vec<String>),
    /// A subnet with a number of free addresses. Where there are subnets, they are the places.
    Subnet {
        id: String,
        zone: String,
        free: u64,
    },
    MaxInstances(u64),
    MaxUsdPerHour(UsdPerHour),
    Knowledge(Knowledge),
    Seed(u64),
    Boot(Duration, Duration),
}

/// One property of a worker type.
#[derive(Clone, Debug)]
pub(super) enum Property {
    Types(Vec<String>),
    Max(u64),
    Min(u64),
    TasksPerInstance(u32),
    RequestTimeout(Duration),
    BootTimeout(Duration),
    IdleTimeout(Duration),
    MaxLifetime(Duration),
    MaxPrice(UsdPerHour),
}

/// A command that lets something happen.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Tasks are created.
    Demand {
        name: String,
        n: u64,
        run_time: Duration,
    },
    /// Pending tasks are withdrawn, except for `keep`.
    Withdraw {
        name: String,
        keep: u64,
    },
    /// The capacity of a pool changes. `None` means that it is unlimited.
    Capacity {
        zone: String,
        instance_type: String,
        free: Option<i64>,
        refuses: bool,
    },
    /// EC2 or the workers on its instances behave otherwise from now on.
    Ec2(Ec2Change),
    Price {
        zone: String,
        instance_type: String,
        price: UsdPerHour,
    },
    /// The capacity of a pool follows a trace that begins now, with samples `gap` apart.
    Trace {
        zone: String,
        instance_type: String,
        gap: Duration,
        room: Vec<u32>,
    },
    Quota {
        family: char,
        most: Option<u64>,
    },
    /// A fault is set by its name, in percent or as a time.
    Fault {
        kind: String,
        value: String,
    },
    Queue {
        down: bool,
    },
    /// EC2 interrupts instances of a worker type, with notice.
    Interrupt {
        name: String,
        n: usize,
    },
    /// Instances are stopped by hand.
    Stop {
        name: String,
        n: usize,
    },
    /// Instances are launched by hand under our key-name.
    Stray(usize),
    /// Requests of the worker type begin or cease to fail with `bad-parameters`.
    Broken {
        name: String,
        broken: bool,
    },
    /// Launches of the worker type begin to be refused with a code, or cease to be.
    Refuse {
        name: String,
        code: Option<String>,
    },
    /// The configuration of a worker type changes.
    Configure {
        name: String,
        properties: Vec<Property>,
    },
    Remove(String),
    /// The process will die after so many steps of the next effects.
    Crash(u64),
    Restart,
    /// The provisioner's clock is set to so far ahead of EC2's.
    Clock(SignedDuration),
    LoseLedger,
    Round,
    /// Time passes, with rounds when the engine wants them.
    Advance(Duration),
    /// Time passes without a round.
    Wait(Duration),
    Show,
}

/// A change of how EC2 and the workers on its instances behave.
#[derive(Clone, Debug)]
pub(super) enum Ec2Change {
    /// A zone does not offer an instance type.
    NotOffered { zone: String, instance_type: String },
    /// Workers power off so long after they came up without a task.
    PowersOff { name: String, after: Option<Duration> },
    /// Workers power off after one task.
    OneShot(String),
    /// EC2 itself ends the launches of a worker type, with a code.
    EndsLaunches { name: String, code: Option<String> },
    /// Launches of an instance type are refused with a code.
    RefuseType { instance_type: String, code: Option<String> },
    /// So many launching calls are allowed at once, and so many tenths per second.
    Bucket { at_once: u32, tenths_per_second: u32 },
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// The form of each command, for error messages.
const FORMS: [(&str, &str); 37] = [
    ("worker-type", "worker-type NAME INSTANCE-TYPE… [PROPERTY VALUE]…"),
    ("zones", "zones ZONE…"),
    ("subnet", "subnet ID ZONE N"),
    ("not-offered", "not-offered ZONE INSTANCE-TYPE"),
    ("powers-off", "powers-off NAME TIME|no-more"),
    ("one-shot", "one-shot NAME"),
    ("ends-launches", "ends-launches NAME CODE|no-more"),
    ("refuse-type", "refuse-type INSTANCE-TYPE CODE|no-more"),
    ("bucket", "bucket AT-ONCE TENTHS-PER-SECOND"),
    ("max-instances", "max-instances N"),
    ("max-usd-per-hour", "max-usd-per-hour USD"),
    ("knowledge", "knowledge none|counted|by-instance"),
    ("seed", "seed N"),
    ("boot", "boot TIME [TIME]"),
    ("demand", "demand NAME N [TIME]"),
    ("withdraw", "withdraw NAME [KEEP]"),
    ("capacity", "capacity ZONE INSTANCE-TYPE none|plenty|N"),
    ("price", "price ZONE INSTANCE-TYPE USD"),
    ("trace", "trace ZONE INSTANCE-TYPE TIME N…"),
    ("quota", "quota LETTER N|none"),
    ("fault", "fault KIND PERCENT|TIME"),
    ("queue", "queue up|down"),
    ("interrupt", "interrupt NAME N"),
    ("stop", "stop NAME N"),
    ("stray", "stray N"),
    ("broken", "broken NAME"),
    ("fixed", "fixed NAME"),
    ("refuse", "refuse NAME CODE|no-more"),
    ("configure", "configure NAME PROPERTY VALUE…"),
    ("remove", "remove NAME"),
    ("crash", "crash STEP"),
    ("restart", "restart"),
    ("clock", "clock ahead|behind TIME"),
    ("lose-ledger", "lose-ledger"),
    ("round", "round"),
    ("advance", "advance TIME"),
    ("wait", "wait TIME"),
];

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number that fits here"))
}

fn time(word: &str) -> Result<Duration, String> {
    duration::parse(word).map_err(|error| format!("`{word}`: {error}"))
}

fn usd(word: &str) -> Result<UsdPerHour, String> {
    UsdPerHour::parse(word).map_err(|error| error.to_string())
}

fn property(name: &str, value: &str) -> Result<Property, String> {
    Ok(match name {
        "max" => Property::Max(number(value)?),
        "min" => Property::Min(number(value)?),
        "tasks-per-instance" => Property::TasksPerInstance(number(value)?),
        "request-timeout" => Property::RequestTimeout(time(value)?),
        "boot-timeout" => Property::BootTimeout(time(value)?),
        "idle-timeout" => Property::IdleTimeout(time(value)?),
        "max-lifetime" => Property::MaxLifetime(time(value)?),
        "types" => Property::Types(value.split(',').map(str::to_owned).collect()),
        "max-price" => Property::MaxPrice(usd(value)?),
        _ => return Err(format!("`{name}` is not a property of a worker type")),
    })
}

fn properties(words: &mut Words<'_>) -> Result<Vec<Property>, String> {
    let mut properties = Vec::new();
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{name}` has no value"))?;
        properties.push(property(name, value)?);
    }
    Ok(properties)
}

impl Command {
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace().peekable();
        let verb = words.next().unwrap_or_default();
        if verb == "show" {
            return Ok(Self::Play(Act::Show));
        }
        let Some((_, form)) = FORMS.iter().find(|(name, _)| *name == verb) else {
            return Err(format!("`{verb}` is not a command"));
        };
        let wrong = || format!("`{form}` is expected");
        let command = Self::read(verb, &mut words, &wrong)?;
        if words.next().is_some() {
            return Err(wrong());
        }
        Ok(command)
    }

    fn read(
        verb: &str,
        words: &mut Words<'_>,
        wrong: &impl Fn() -> String,
    ) -> Result<Self, String> {
        let mut word = || words.next().map(str::to_owned).ok_or_else(wrong);
        let set = match verb {
            "worker-type" => {
                let name = word()?;
                let mut instance_types = Vec::new();
                while let Some(word) = words.next_if(|word| word.contains('.')) {
                    instance_types.push(word.to_owned());
                }
                if instance_types.is_empty() {
                    return Err(wrong());
                }
                Set::WorkerType { name, instance_types, properties: properties(words)? }
            }
            "zones" => Set::Zones(words.map(str::to_owned).collect()),
            "subnet" => Set::Subnet { id: word()?, zone: word()?, free: number(&word()?)? },
            "max-instances" => Set::MaxInstances(number(&word()?)?),
            "max-usd-per-hour" => Set::MaxUsdPerHour(usd(&word()?)?),
            "knowledge" => Set::Knowledge(match word()?.as_str() {
                "none" => Knowledge::Unknown,
                "counted" => Knowledge::Counted,
                "by-instance" => Knowledge::ByInstance,
                _ => return Err(wrong()),
            }),
            "seed" => Set::Seed(number(&word()?)?),
            "boot" => {
                let least = time(&word()?)?;
                let most = words.next().map_or(Ok(least), time)?;
                Set::Boot(least, most)
            }
            _ => return Act::read(verb, words, wrong).map(Self::Play),
        };
        Ok(Self::Stage(set))
    }
}

impl Act {
    fn read(
        verb: &str,
        words: &mut Words<'_>,
        wrong: &impl Fn() -> String,
    ) -> Result<Self, String> {
        /// Longer than any scenario.
        const LONG: Duration = Duration::from_hours(100);
        let mut word = || words.next().map(str::to_owned).ok_or_else(wrong);
        Ok(match verb {
            "demand" => {
                let name = word()?;
                let n = number(&word()?)?;
                Self::Demand { name, n, run_time: words.next().map_or(Ok(LONG), time)? }
            }
            "withdraw" => {
                let name = word()?;
                Self::Withdraw { name, keep: words.next().map_or(Ok(0), number)? }
            }
            "capacity" => {
                let zone = word()?;
                let instance_type = word()?;
                let (free, refuses) = match word()?.as_str() {
                    "none" => (None, true),
                    "plenty" => (None, false),
                    n => (Some(number(n)?), false),
                };
                Self::Capacity { zone, instance_type, free, refuses }
            }
            "not-offered" => {
                Self::Ec2(Ec2Change::NotOffered { zone: word()?, instance_type: word()? })
            }
            "powers-off" => {
                let name = word()?;
                let after = Some(word()?).filter(|word| word != "no-more");
                Self::Ec2(Ec2Change::PowersOff {
                    name,
                    after: after.as_deref().map(time).transpose()?,
                })
            }
            "one-shot" => Self::Ec2(Ec2Change::OneShot(word()?)),
            "ends-launches" => {
                let name = word()?;
                Self::Ec2(Ec2Change::EndsLaunches {
                    name,
                    code: Some(word()?).filter(|word| word != "no-more"),
                })
            }
            "refuse-type" => {
                let instance_type = word()?;
                let code = Some(word()?).filter(|word| word != "no-more");
                Self::Ec2(Ec2Change::RefuseType { instance_type, code })
            }
            "bucket" => Self::Ec2(Ec2Change::Bucket {
                at_once: number(&word()?)?,
                tenths_per_second: number(&word()?)?,
            }),
            "price" => Self::Price { zone: word()?, instance_type: word()?, price: usd(&word()?)? },
            "trace" => {
                let zone = word()?;
                let instance_type = word()?;
                let gap = time(&word()?)?;
                let room = words.map(number).collect::<Result<_, _>>()?;
                Self::Trace { zone, instance_type, gap, room }
            }
            "quota" => {
                let family = word()?.chars().next().ok_or_else(wrong)?;
                let most = Some(word()?).filter(|word| word != "none");
                Self::Quota { family, most: most.as_deref().map(number).transpose()? }
            }
            "fault" => Self::Fault { kind: word()?, value: word()? },
            "queue" => Self::Queue {
                down: match word()?.as_str() {
                    "down" => true,
                    "up" => false,
                    _ => return Err(wrong()),
                },
            },
            "interrupt" => Self::Interrupt { name: word()?, n: number(&word()?)? },
            "stop" => Self::Stop { name: word()?, n: number(&word()?)? },
            "stray" => Self::Stray(number(&word()?)?),
            "broken" => Self::Broken { name: word()?, broken: true },
            "fixed" => Self::Broken { name: word()?, broken: false },
            "refuse" => {
                let name = word()?;
                Self::Refuse { name, code: Some(word()?).filter(|word| word != "no-more") }
            }
            "configure" => Self::Configure { name: word()?, properties: properties(words)? },
            "remove" => Self::Remove(word()?),
            "crash" => Self::Crash(number(&word()?)?),
            "restart" => Self::Restart,
            "clock" => {
                let direction = word()?;
                let off =
                    SignedDuration::try_from(time(&word()?)?).map_err(|error| error.to_string())?;
                match direction.as_str() {
                    "ahead" => Self::Clock(off),
                    "behind" => Self::Clock(-off),
                    _ => return Err(wrong()),
                }
            }
            "lose-ledger" => Self::LoseLedger,
            "round" => Self::Round,
            "advance" => Self::Advance(time(&word()?)?),
            "wait" => Self::Wait(time(&word()?)?),
            _ => return Err(wrong()),
        })
    }
}
