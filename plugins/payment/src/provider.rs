//! The services whose webhooks are understood, and what differs between them as plain data.

use std::fmt;

use jobcell_sdk::secrets::Algorithm;
use serde::{Deserialize, Serialize};

/// Who sent the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Stripe: `Stripe-Signature` with a timestamp.
    Stripe,
    /// Paystack: HMAC-SHA512 of the raw body, keyed with the account's secret key.
    Paystack,
    /// Razorpay: HMAC-SHA256 of the raw body.
    Razorpay,
    /// Meta, WhatsApp included: HMAC-SHA256 of the raw body, keyed with the app secret.
    #[serde(alias = "whatsapp")]
    Meta,
}

impl Provider {
    /// The provider's name as the payload and the result spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Paystack => "paystack",
            Self::Razorpay => "razorpay",
            Self::Meta => "meta",
        }
    }

    /// The header that carries the signature. Looked up without regard to case.
    pub fn signature_header(self) -> &'static str {
        match self {
            Self::Stripe => "Stripe-Signature",
            Self::Paystack => "X-Paystack-Signature",
            Self::Razorpay => "X-Razorpay-Signature",
            Self::Meta => "X-Hub-Signature-256",
        }
    }

    /// The hash under the provider's HMAC.
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Stripe | Self::Razorpay | Self::Meta => Algorithm::Sha256,
            Self::Paystack => Algorithm::Sha512,
        }
    }

    /// Length of the provider's MAC in bytes.
    pub fn mac_bytes(self) -> usize {
        match self {
            Self::Stripe | Self::Razorpay | Self::Meta => 32,
            Self::Paystack => 64,
        }
    }

    /// The secret used for signatures when the payload names none.
    pub fn webhook_secret(self) -> &'static str {
        match self {
            Self::Stripe => "stripe-webhook",
            Self::Paystack => "paystack-webhook",
            Self::Razorpay => "razorpay-webhook",
            Self::Meta => "meta-webhook",
        }
    }

    /// Event types that say money has arrived: what `expect.event_type` defaults to.
    ///
    /// A default is needed because a refund or a dispute can carry the same amount, currency and even the
    /// same status as the payment it undoes.
    pub fn paid_events(self) -> &'static [&'static str] {
        match self {
            Self::Stripe => &[
                "checkout.session.completed",
                "checkout.session.async_payment_succeeded",
                "payment_intent.succeeded",
                "charge.succeeded",
                "invoice.paid",
            ],
            Self::Paystack => &["charge.success"],
            Self::Razorpay => &["payment.captured", "order.paid", "payment_link.paid", "invoice.paid"],
            Self::Meta => &[],
        }
    }

    /// Statuses that say money has arrived: what `expect.status` defaults to, and what the provider's API
    /// must answer when the payment is confirmed.
    pub fn paid_statuses(self) -> &'static [&'static str] {
        match self {
            Self::Stripe => &["succeeded", "paid"],
            Self::Paystack => &["success"],
            Self::Razorpay => &["captured", "paid"],
            Self::Meta => &[],
        }
    }

    /// Statuses of the provider's API that may still become a paid one, so that asking later makes sense.
    pub fn pending_statuses(self) -> &'static [&'static str] {
        match self {
            Self::Stripe => &["processing", "pending"],
            Self::Paystack => &["ongoing", "pending", "processing", "queued"],
            Self::Razorpay => &["created", "authorized"],
            Self::Meta => &[],
        }
    }

    /// Does the provider's webhook carry money at all?
    pub fn carries_money(self) -> bool {
        match self {
            Self::Stripe | Self::Paystack | Self::Razorpay => true,
            Self::Meta => false,
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
