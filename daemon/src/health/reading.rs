//! What the sensors say about heat, power, processors and disks at one moment. What a machine doesn't tell is none or left
//! out, never 0.

/// One moment of the machine, apart from its memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HealthReading {
    /// Temperatures, by the name of their zone.
    pub temperatures: Vec<Temperature>,
    /// What the machine says about being slowed down.
    pub throttling: Throttling,
    /// Power of each rail.
    pub rails: Vec<Rail>,
    /// Fans.
    pub fans: Vec<Fan>,
    /// The processor.
    pub cpu: CpuReading,
    /// The GPU, where there is one that tells.
    pub gpu: Option<GpuReading>,
    /// The swap space.
    pub swap: Option<Room>,
    /// The file system with the state folder.
    pub disk: Option<Room>,
}

/// A temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct Temperature {
    /// The zone's type or the sensor's label, in lower case: `cpu-thermal`, `tj-thermal`, `package id 0`.
    pub zone: String,
    /// Degrees Celsius.
    pub celsius: f32,
    /// Where the hardware begins to slow itself down, from its passive trip point or its `max` limit, degrees Celsius.
    pub passive: Option<f32>,
    /// Where it switches off, from its critical trip point or its `crit` limit, degrees Celsius.
    pub critical: Option<f32>,
}

/// Whether the hardware holds itself back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Names of cooling devices that are active now, other than fans: `cpufreq-cpu0`, `gpu-throttle-alert`.
    pub cooling: Vec<String>,
    /// Whether there are such devices at all.
    pub has_cooling: bool,
    /// Too little voltage now (Raspberry Pi).
    pub under_voltage: Option<bool>,
    /// The firmware caps or throttles clocks now (Raspberry Pi).
    pub capped: Option<bool>,
    /// Over-current events since boot (Jetson).
    pub over_current: Option<u64>,
}

/// A power rail.
#[derive(Debug, Clone, PartialEq)]
pub struct Rail {
    /// Its label, such as `VDD_IN`.
    pub name: String,
    /// Watts.
    pub watts: f32,
    /// Whether everything the board draws goes through it (`VDD_IN`, RAPL's `psys`).
    pub total: bool,
}

/// A fan.
#[derive(Debug, Clone, PartialEq)]
pub struct Fan {
    /// Its label or its driver's name.
    pub name: String,
    /// Revolutions a minute.
    pub rpm: Option<u32>,
    /// Share of its full power, 0 to 1.
    pub power: Option<f32>,
}

/// The processor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuReading {
    /// Share of all cores' time that was not idle since the reading before, 0 to 1.
    pub load: Option<f32>,
    /// Clock of the fastest core now, Hz.
    pub clock_hz: Option<u64>,
    /// Its highest clock, Hz.
    pub clock_max_hz: Option<u64>,
}

/// A GPU.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuReading {
    /// Its name, where it tells.
    pub name: Option<String>,
    /// Share of the time that it computes, 0 to 1.
    pub load: Option<f32>,
    /// Clock now, Hz.
    pub clock_hz: Option<u64>,
    /// Its highest clock, Hz.
    pub clock_max_hz: Option<u64>,
    /// Memory of its own.
    pub memory: Option<Room>,
}

/// What there is of something, and what of it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
}

impl HealthReading {
    /// The hottest zone.
    pub fn hottest(&self) -> Option<&Temperature> {
        self.temperatures.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius))
    }

    /// What the whole board draws, watts.
    pub fn watts(&self) -> Option<f32> {
        let total = self.rails.iter().find(|rail| rail.total)?;
        Some(total.watts)
    }

    /// Whether anything holds the hardware back now; none if nothing here tells.
    pub fn throttled(&self) -> Option<bool> {
        let Throttling { cooling, has_cooling, under_voltage, capped, .. } = &self.throttling;
        let cooled = (*has_cooling || !cooling.is_empty()).then_some(!cooling.is_empty());
        let told = [*under_voltage, *capped, cooled];
        told.into_iter().flatten().reduce(|a, b| a || b)
    }
}
