//! Medians and percentiles.

/// The value below which this share of the values lies. `values` need not be sorted; empty gives 0.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    // Truncation is meant: the nearest rank below.
    let rank = (share * last as f64) as usize;
    sorted.get(rank.min(last)).copied().unwrap_or(0.0)
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// With so many digits behind the point.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_take_the_nearest_rank_below() {
        let values = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert!((median(&values) - 3.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 1.0) - 5.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 4.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.5).abs() < f64::EPSILON);
    }
}
