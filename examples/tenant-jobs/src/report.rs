//! The work itself: a tenant's list of orders, totalled.

use std::collections::BTreeSet;

use jobcell_sdk::prelude::*;
use serde::Serialize;

/// The first line of every file.
const HEADER: &str = "customer,amount";
/// Digits before the point: sums of millions of such amounts stay exact, here and in the team's JavaScript.
const DIGITS_MAX: usize = 9;

/// What a file of orders comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    orders: u64,
    customers: usize,
    total_cents: u64,
    largest: Option<Order>,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Order {
    customer: String,
    cents: u64,
}

impl Report {
    /// Totals a file: the header, then `customer,12.50` a line.
    ///
    /// # Errors
    /// [`Failure::Fatal`] with the first line that is not like this.
    pub(crate) fn of(file: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(file).or_fatal("the file is no text")?;
        let mut lines = text.trim_end().split('\n');
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            return Err(Failure::fatal(format!("line 1: {header:?} is not {HEADER:?}")));
        }
        let (mut report, mut customers) = (Self::default(), BTreeSet::new());
        for (number, line) in (2..).zip(lines) {
            let order =
                order(line).or_fatal(format!("line {number}: {line:?} is no order such as \"ada,12.50\""))?;
            report.orders += 1;
            report.total_cents += order.cents;
            customers.insert(order.customer.clone());
            if report.largest.as_ref().is_none_or(|largest| largest.cents < order.cents) {
                report.largest = Some(order);
            }
        }
        report.customers = customers.len();
        Ok(report)
    }
}

fn order(line: &str) -> Option<Order> {
    let (customer, amount) = line.split_once(',')?;
    let (units, cents) = amount.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !customer.is_empty() && units.len() <= DIGITS_MAX && cents.len() == 2;
    if !(fits && is_number(units) && is_number(cents)) {
        return None;
    }
    let cents = units.parse::<u64>().ok()? * 100 + cents.parse::<u64>().ok()?;
    Some(Order { customer: customer.to_owned(), cents })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_counted_and_totalled_in_cents() {
        let report = Report::of(b"customer,amount\nada,12.50\nbob,0.05\nada,100.00\n").unwrap();
        assert_eq!((report.orders, report.customers, report.total_cents), (3, 2, 11_255));
        assert_eq!(report.largest, Some(Order { customer: "ada".into(), cents: 10_000 }));
        assert_eq!(Report::of(b"customer,amount\n").unwrap(), Report::default());
    }

    #[test]
    fn of_equal_orders_the_first_is_the_largest() {
        let report = Report::of(b"customer,amount\nada,1.00\nbob,1.00").unwrap();
        assert_eq!(report.largest.unwrap().customer, "ada");
    }

    #[test]
    fn a_line_that_is_no_order_is_named() {
        for bad in
            ["ada;12.50", "ada,12,50", "ada,12.5", "ada,-1.00", ",1.00", "ada,.50", "ada,1234567890.00", ""]
        {
            let file = format!("customer,amount\nbob,1.00\n{bad}\nbob,1.00");
            match Report::of(file.as_bytes()) {
                Err(Failure::Fatal(reason)) => assert!(reason.starts_with("line 3: "), "{bad}: {reason}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        for file in [&b""[..], b"amount,customer\n", b"\xff\xfe"] {
            assert!(matches!(Report::of(file), Err(Failure::Fatal(_))), "{file:?}");
        }
    }
}
