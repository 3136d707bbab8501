//! `[telemetry]`: where traces go. The standard's environment variables (`OTEL_…`) are read here too, and win over the
//! file; what they hold wrongly is warned of and left out, as the standard wants it.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::forms::{Form, SHARE, SWITCH, TEXT, text, without_login};
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// Where telemetry goes besides the pages that are scraped.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TelemetryConfig {
    /// Traces; none when nobody collects them.
    pub traces: Option<TracesConfig>,
}

/// How traces are collected and sent.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The URL that spans are posted to.
    pub url: String,
    /// Certificates of authorities in PEM, trusted in place of the machine's.
    pub certificate: Option<PathBuf>,
    /// How long one post may take.
    pub timeout: Duration,
    /// The name of this service in traces.
    pub service: String,
    /// Which traces are collected.
    pub sampler: Sampler,
    /// Whether lines of jobs' logs go into traces.
    pub log_lines: bool,
    /// Spans that may wait to be sent.
    pub queue_max: usize,
    /// Spans in one post.
    pub batch_max: usize,
    /// How long spans wait for others to be sent with.
    pub delay: Duration,
}

/// Which traces are collected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// This share of them, whatever their producers decided.
    Share(f64),
    /// As their producers decided; of those that begin here, this share.
    ByParent(f64),
}

const ENDPOINT: Key<String> = Key::new(
    "endpoint",
    Form {
        name: "URL",
        expects: "a URL with http:// or https://, such as \"http://127.0.0.1:4318\"",
        read: endpoint,
    },
    Absent::Means("no traces"),
    "The OTLP collector that traces are sent to, over HTTP with protobuf; `/v1/traces` is added. \
     `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin win over this key.",
);
const SERVICE: Key<String> = Key::value(
    "service",
    TEXT,
    "\"jobcell\"",
    "The name of this service in traces; `OTEL_SERVICE_NAME` wins.",
);
const SAMPLE: Key<f64> = Key::value(
    "sample",
    SHARE,
    "1.0",
    "The share of traces that are collected of jobs whose producer sent no context. With a context, the producer's \
     decision holds. `OTEL_TRACES_SAMPLER` wins.",
);
const LOG_LINES: Key<bool> = Key::value(
    "log-lines",
    SWITCH,
    "true",
    "Whether lines of jobs' logs go into traces, cut to 256 bytes and without secrets. Switch it off where the collector \
     may not see what handlers say.",
);
pub(super) static TELEMETRY: Section = Section {
    about: "Traces, sent to an OpenTelemetry collector. Also steered by the standard's variables, see \
            [observability.md](observability.md).",
    keys: &[ENDPOINT.entry(), SERVICE.entry(), SAMPLE.entry(), LOG_LINES.entry()],
};

/// The default of the standard.
const TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE_MAX: usize = 2048;
const BATCH_MAX: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
/// More would be a typing error that fills the memory.
const QUEUE_CEILING: usize = 65_536;

/// Reads the group and the variables. Faults of variables are pushed as warnings.
pub(super) fn read(
    reader: &Reader<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> TelemetryConfig {
    let (file, service) = (reader.get(&ENDPOINT), reader.value(&SERVICE));
    let (sample, log_lines) = (reader.value(&SAMPLE), reader.value(&LOG_LINES));
    let mut variables = Variables { environment, warnings };
    if variables.is_true("OTEL_SDK_DISABLED") || !variables.exports() {
        return TelemetryConfig::default();
    }
    let Some(url) = variables.url(file) else { return TelemetryConfig::default() };
    let queue_max = variables.number("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(QUEUE_MAX).clamp(1, QUEUE_CEILING);
    let batch_max = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").unwrap_or(BATCH_MAX);
    TelemetryConfig {
        traces: Some(TracesConfig {
            url,
            certificate: variables.of_traces("CERTIFICATE").map(PathBuf::from),
            timeout: variables.millis_of_traces("TIMEOUT").unwrap_or(TIMEOUT),
            service: environment.get("OTEL_SERVICE_NAME").map_or(service, str::to_owned),
            sampler: variables.sampler().unwrap_or(Sampler::ByParent(sample)),
            log_lines,
            queue_max,
            batch_max: batch_max.clamp(1, queue_max),
            delay: variables
                .number("OTEL_BSP_SCHEDULE_DELAY")
                .map_or(DELAY, |ms| Duration::from_millis(ms as u64)),
        }),
    }
}

/// The standard's variables.
struct Variables<'a> {
    environment: &'a Environment,
    warnings: &'a mut Vec<String>,
}

// === impl Variables ===

impl<'a> Variables<'a> {
    fn is_true(&self, name: &str) -> bool {
        self.environment.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn ignored(&mut self, name: &str, why: &str) {
        // The value stays untold: variables of this family hold credentials.
        self.warnings.push(format!("{name} {why}; it is ignored"));
    }

    /// Whether any exporter of traces is wanted that is there.
    fn exports(&mut self) -> bool {
        match self.environment.get("OTEL_TRACES_EXPORTER") {
            None | Some("otlp") => true,
            Some("none") => false,
            Some(_) => {
                self.ignored(
                    "OTEL_TRACES_EXPORTER",
                    "names an exporter that is not built in; use otlp or none",
                );
                true
            }
        }
    }

    /// `OTEL_EXPORTER_OTLP_TRACES_…`, else the variable for all signals.
    fn of_traces(&self, what: &str) -> Option<&'a str> {
        let own = self.environment.get(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}"));
        own.or_else(|| self.environment.get(&format!("OTEL_EXPORTER_OTLP_{what}")))
    }

    /// Where spans go. The variable for traces is taken as it is, the others get the path of traces.
    fn url(&mut self, file: Option<String>) -> Option<String> {
        if let Some(protocol) = self.of_traces("PROTOCOL").filter(|protocol| *protocol != "http/protobuf") {
            let why = format!("asks for {protocol:?}, and this program sends http/protobuf only (port 4318)");
            self.ignored("OTEL_EXPORTER_OTLP_PROTOCOL", &why);
        }
        let whole = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        if let Some(url) = self.environment.get(whole) {
            match checked(url) {
                Ok(url) => return Some(url.to_owned()),
                Err(why) => self.ignored(whole, &why),
            }
        }
        let base = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let base = match self.environment.get(base).map(checked) {
            Some(Ok(url)) => Some(url.to_owned()),
            Some(Err(why)) => {
                self.ignored(base, &why);
                file
            }
            None => file,
        };
        base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        let value = self.environment.get(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.ignored(name, "is not a whole number");
        }
        number
    }

    fn millis_of_traces(&mut self, what: &str) -> Option<Duration> {
        let millis = self.of_traces(what)?.parse().ok().filter(|millis| *millis > 0);
        if millis.is_none() {
            self.ignored(&format!("OTEL_EXPORTER_OTLP_{what}"), "is not a number of milliseconds");
        }
        millis.map(Duration::from_millis)
    }

    fn sampler(&mut self) -> Option<Sampler> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
        let sampler = self.environment.get(NAME)?;
        let argument = self.environment.get(ARGUMENT);
        let mut share = || {
            let share =
                argument.and_then(|share| share.parse().ok()).filter(|share| (0.0..=1.0).contains(share));
            if share.is_none() && argument.is_some() {
                self.ignored(ARGUMENT, "is not a number from 0 to 1");
            }
            share.unwrap_or(1.0)
        };
        Some(match sampler {
            "always_on" => Sampler::Share(1.0),
            "always_off" => Sampler::Share(0.0),
            "traceidratio" => Sampler::Share(share()),
            "parentbased_always_on" => Sampler::ByParent(1.0),
            "parentbased_always_off" => Sampler::ByParent(0.0),
            "parentbased_traceidratio" => Sampler::ByParent(share()),
            _ => {
                self.ignored(NAME, "names a sampler that is not built in");
                return None;
            }
        })
    }
}

/// A URL that spans can be posted to.
fn checked(url: &str) -> Result<&str, String> {
    let parsed = url::Url::parse(url).map_err(|error| format!("is not a URL ({error})"))?;
    match parsed.scheme() {
        "http" | "https" if parsed.has_host() => Ok(url),
        _ => Err("does not begin with http:// or https://".to_owned()),
    }
}

fn endpoint(node: &Node) -> Result<String, String> {
    let url = text(node)?;
    if without_login(&url) != url {
        return Err(
            "may hold a password or a query; put credentials into OTEL_EXPORTER_OTLP_HEADERS".to_owned()
        );
    }
    checked(&url).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, FileChoice, Loaded, Request, load_all};
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)]) -> Loaded {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let file = FileChoice::Text("jobcell.toml".into(), file.to_owned());
        load_all(&Request { file, environment: environment.collect(), ..Request::default() })
    }

    fn traces(file: &str, variables: &[(&str, &str)]) -> (Option<TracesConfig>, Vec<String>) {
        let Loaded { config: Config { telemetry, warnings, .. }, faults } = load(file, variables);
        assert!(faults.is_empty(), "{faults:?}");
        (telemetry.traces, warnings)
    }

    const FILE: &str = "[telemetry]\nendpoint = \"http://file:4318/\"\nservice = \"mine\"\nsample = 0.25\n";

    #[test]
    fn nothing_is_collected_unless_somebody_asks_for_it() {
        assert_eq!(traces("", &[]), (None, Vec::new()));
        assert_eq!(traces("", &[("OTEL_TRACES_SAMPLER", "always_on")]), (None, Vec::new()));
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(traces(FILE, &[off]), (None, Vec::new()), "{off:?}");
        }
    }

    #[test]
    fn the_file_is_taken_and_the_standards_variables_win() {
        let (Some(found), warnings) = traces(FILE, &[]) else { panic!("traces") };
        assert_eq!((found.url.as_str(), found.service.as_str()), ("http://file:4318/v1/traces", "mine"));
        assert_eq!((found.sampler, warnings.len()), (Sampler::ByParent(0.25), 0));
        let (Some(found), warnings) = traces(
            FILE,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://all:4318"),
                ("OTEL_SERVICE_NAME", "theirs"),
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
                ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ],
        ) else {
            panic!("traces")
        };
        assert_eq!((found.url.as_str(), found.service.as_str()), ("https://all:4318/v1/traces", "theirs"));
        assert_eq!((found.sampler, warnings.len()), (Sampler::Share(0.5), 0));
        assert_eq!((found.timeout.as_millis(), found.delay.as_millis()), (1500, 200));
        assert_eq!((found.queue_max, found.batch_max), (100, 100));
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:1/x"),
        ];
        assert_eq!(traces(FILE, &own).0.map(|found| found.url).as_deref(), Some("http://own:1/x"));
    }

    #[test]
    fn wrong_variables_are_warned_of_without_their_values_and_a_wrong_file_is_a_fault() {
        let wrong = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ];
        let (found, warnings) = traces(FILE, &wrong);
        assert_eq!(found.map(|found| found.url).as_deref(), Some("http://file:4318/v1/traces"));
        assert_eq!(warnings.len(), wrong.len(), "{warnings:#?}");
        assert!(warnings.iter().all(|warning| warning.contains("ignored") && !warning.contains("hunter2")));
        for wrong in ["collector:4318", "ftp://x", "http://user:hunter2@x", "http://x?token=hunter2"] {
            let Loaded { faults, .. } = load(&format!("[telemetry]\nendpoint = {wrong:?}\n"), &[]);
            assert_eq!(faults.len(), 1, "{wrong}: {faults:?}");
            assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
        }
    }
}
