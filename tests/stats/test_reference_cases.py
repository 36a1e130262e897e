"""Every published or recomputed case of statistics_cases.json, against our own code."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.stats import (
    betting,
    classical,
    multiple,
    noise,
    paired,
    power,
    proportions,
    quantiles,
    ratio,
    sequential,
    stratified,
)

CASES = Path(__file__).parents[3] / "shared" / "reference" / "statistics_cases.json"

Inputs = Mapping[str, Any]
Result = dict[str, Any]

NOT_IMPLEMENTED = {
    "quantile_confidence_sequence_bound": "no rule needs it: a percentile is an exceedance rate, section 2(d)",
    "lan_demets_obrien_fleming": "group-sequential looks are fixed in advance; canaryctl looks at any time",
    "two_sample_bernoulli_e_value": "blocks of one intent and step replace it, section 2(b)",
    "mann_whitney_hodges_lehmann": "no rule or report compares latencies by rank",
    "naus_scan_probability": "the union bound over starts replaces scan probabilities, section 2(a)",
}


def bounds(interval: proportions.Interval) -> Result:
    return {"lower": interval.lower, "upper": interval.upper}


def one_rate(method: Callable[..., proportions.Interval]) -> Callable[[Inputs], Result]:
    return lambda i: bounds(method(i["count"], i["nobs"], level=1 - i["alpha"]))


def two_rates(method: Callable[..., proportions.Interval]) -> Callable[[Inputs], Result]:
    return lambda i: bounds(
        method(i["count1"], i["nobs1"], i["count2"], i["nobs2"], level=1 - i["alpha"])
    )


def table(i: Inputs) -> paired.PairedTable:
    (both, b), (c, neither) = i["table"]
    return paired.PairedTable(both=both, only_baseline=b, only_candidate=c, neither=neither)


def pairs(method: Callable[..., proportions.Interval]) -> Callable[[Inputs], Result]:
    return lambda i: bounds(method(table(i), level=1 - i["alpha"]))


def mcnemar(i: Inputs) -> Result:
    plain = paired.mcnemar_asymptotic(table(i))
    corrected = paired.mcnemar_asymptotic(table(i), corrected=True)
    return {
        "chi2": plain.chi2,
        "p_asymptotic": plain.p_value,
        "chi2_cc": corrected.chi2,
        "p_cc": corrected.p_value,
        "p_exact": paired.mcnemar_exact(table(i)),
        "p_midp": paired.mcnemar_midp(table(i)),
    }


def farrington_manning(i: Inputs) -> Result:
    test = proportions.farrington_manning(
        i["count_new"], i["nobs_new"], i["count_old"], i["nobs_old"], margin=i["margin"]
    )
    total = i["nobs_new"] + i["nobs_old"]
    return {
        "z": test.z,
        "p_value": test.p_value,
        "p_new_null": test.p_new_null,
        "p_old_null": test.p_old_null,
        "z_miettinen_nurminen": test.z * math.sqrt((total - 1) / total),
    }


def strata(i: Inputs) -> list[stratified.Stratum]:
    return [
        stratified.Stratum(
            baseline_n=s["n1"],
            baseline_correct=s["x1"],
            candidate_n=s["n2"],
            candidate_correct=s["x2"],
        )
        for s in i["strata"]
    ]


def odds_ratio(i: Inputs) -> Result:
    seen = classical.mantel_haenszel_odds_ratio(strata(i), level=1 - i["alpha"])
    return {
        "or_mh": seen.odds_ratio,
        "or_lower": seen.interval.lower,
        "or_upper": seen.interval.upper,
        "cmh": seen.no_association.chi2,
        "p_cmh": seen.no_association.p_value,
        "cmh_cc": seen.no_association_corrected.chi2,
        "p_cmh_cc": seen.no_association_corrected.p_value,
        "breslow_day": seen.equal_odds_chi2,
        "p_breslow_day": seen.equal_odds_p,
        "breslow_day_tarone": seen.equal_odds_tarone_chi2,
    }


def risk_difference(i: Inputs) -> Result:
    seen = strata(i)
    pooled = stratified.Stratum(
        baseline_n=sum(s.baseline_n for s in seen),
        baseline_correct=sum(s.baseline_correct for s in seen),
        candidate_n=sum(s.candidate_n for s in seen),
        candidate_correct=sum(s.candidate_correct for s in seen),
    )
    mh, post = stratified.mantel_haenszel(seen), stratified.post_stratified(seen)
    interval = mh.interval(level=1 - i["alpha"])
    return {
        "rd_pooled_raw": pooled.loss,
        "rd_mh": mh.loss,
        "se_mh_greenland_robins": math.sqrt(mh.variance),
        "se_mh_sato": math.sqrt(stratified.sato_variance(seen)),
        "mh_lower": interval.lower,
        "mh_upper": interval.upper,
        "rd_poststratified": post.loss,
        "se_poststratified": math.sqrt(post.variance),
    }


def size_two_proportions(i: Inputs) -> Result:
    return {"n1": power.two_proportions(**i)}


def size_farrington_manning(i: Inputs) -> Result:
    n = power.farrington_manning(**i)
    return {"n_new": n, "n_total": n * (1 + i["ratio_old_to_new"])}


def size_mcnemar(i: Inputs) -> Result:
    n = power.mcnemar(
        p_only_baseline=i["p_old_only_right"],
        p_only_candidate=i["p_new_only_right"],
        alpha=i["alpha"],
        power=i["power"],
        sides=i["sides"],
    )
    return {"n_pairs": n}


def normal_mixture(i: Inputs) -> Result:
    rho = sequential.normal_mixture_rho(v_opt=i["v_opt"], alpha=i["alpha_opt"])
    return {
        "rho": rho,
        "log_mixture": sequential.normal_mixture_log_e(i["s"], v=i["v"], rho=rho),
        "bound": sequential.normal_mixture_bound(v=i["v"], rho=rho, alpha=i["alpha"]),
    }


def beta_binomial(i: Inputs) -> Result:
    if "prior_a" in i:
        prior = sequential.Beta(a=i["prior_a"], b=i["prior_b"])
        return {
            "log_e": sequential.beta_binomial_log_e(
                i["count"], i["nobs"], p0=i["p0"], prior=prior, sides=1
            )
        }
    return beta_binomial_in_confseq_terms(i)


def beta_binomial_in_confseq_terms(i: Inputs) -> Result:
    """There s = count - n p0 and v = n p0 (1 - p0); the bound is the s at which E = 20."""
    p0, unit = i["g"], i["g"] * i["h"]
    n = round(i["v"] / unit)
    prior = sequential.mixture_prior(p0=p0, n_opt=i["v_opt"] / unit, alpha=i["alpha_opt"], sides=1)

    def at(s: float) -> float:
        return sequential.beta_binomial_log_e(s + n * p0, n, p0=p0, prior=prior, sides=1)

    low, high = 0.0, 100.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) >= math.log(20) else (middle, high)
    return {"log_e": at(i["s"]), "bound_at_alpha_005": high}


def bernoulli_sequence(i: Inputs) -> Result:
    return bounds(
        sequential.bernoulli_confidence_sequence(
            i["count"], i["nobs"], alpha=i["alpha"], n_opt=i["t_opt"]
        )
    )


def asymptotic_sequence(i: Inputs) -> Result:
    half = sequential.asymptotic_halfwidth(
        se=i["se"], n=i["n"], n_opt=i["n_opt"], alpha=i["alpha"], sides=i["sides"]
    )
    return {
        "half_width": half,
        "lower": i["estimate"] - half,
        "upper": i["estimate"] + half,
    }


def bet_rate(i: Inputs) -> Result:
    bets = betting.rate_bets(limit=i["p0"], alternative=i["p1"])
    counts = np.array([i["nobs"] - i["count"], i["count"]])
    log_e = float(betting.log_e(counts, np.array([0.0, 1.0]), bets))
    return {
        "lambdas": list(bets.lambdas),
        "log_e": log_e,
        "e": math.exp(log_e),
        "alternatives": [i["p0"] + bet * i["p0"] * (1 - i["p0"]) for bet in bets.lambdas],
    }


def paired_log_e(i: Inputs, bets: betting.Bets, sign: int) -> float:
    b, c = i["b_old_only_right"], i["c_new_only_right"]
    counts = np.array([c, i["pairs"] - b - c, b])
    return float(betting.log_e(counts, sign * np.array([-1.0, 0.0, 1.0]), bets))


def bet_paired(i: Inputs) -> Result:
    policy = {key: i[key] for key in ("margin", "effect", "variance")}
    make, sign = (
        (betting.loss_bets, 1) if i["claim"] == "loss > margin" else (betting.gain_bets, -1)
    )
    bets = make(**policy)
    log_e = paired_log_e(i, bets, sign)
    return {"lambdas": list(bets.lambdas), "log_e": log_e, "e": math.exp(log_e)}


def bet_blocks(i: Inputs) -> Result:
    blocks = [b["old_correct"] / b["old_n"] - b["new_correct"] for b in i["blocks"]]
    values, counts = np.unique(blocks, return_counts=True)
    bets = betting.loss_bets(margin=i["margin"], effect=i["effect"], variance=i["variance"])
    return {
        "mean_difference": float(np.mean(blocks)),
        "lambdas": list(bets.lambdas),
        "log_e": float(betting.log_e(counts, values, bets)),
    }


def windowed(i: Inputs) -> Result:
    """In minutes: an hour's counts arrive in its last minute, as "evaluated at the end" asks."""
    hours = i["hourly_counts"]
    prefix = np.zeros((60 * len(hours) + 1, 2), dtype=np.int64)
    for hour, seen in enumerate(hours):
        prefix[60 * (hour + 1) :] += [seen["requests"] - seen["events"], seen["events"]]
    starts = np.arange(len(hours)) * 60
    # Evenly, as the case is defined; `log_threshold` gives the first start more.
    needed = math.log(i["horizon"] / i["alpha"])
    found = betting.windowed_log_e(
        prefix[starts],
        prefix[starts + 60],
        np.array([0.0, 1.0]),
        betting.rate_bets(limit=i["p0"], alternative=i["p1"]),
        starts=starts,
        ends=starts + 60,
        window_min=60 * i["window"],
        min_window_min=60,
        thresholds=needed,
    )
    best, fired = int(found.log_e.argmax()), np.flatnonzero(found.fires)
    first = int(fired[0]) if fired.size else None
    return {
        "threshold_log_e": needed,
        "max_log_e": float(found.log_e[best]),
        "max_start_hour": int(found.start[best]) // 60,
        "max_end_hour": best + 1,
        "fires": first is not None,
        "first_fire_hour": None if first is None else first + 1,
        "blamed_start_hour": None if first is None else int(found.start[first]) // 60,
        "log_e_at_fire": None if first is None else float(found.log_e[first]),
    }


def verdict(i: Inputs) -> Result:
    policy = {key: i[key] for key in ("margin", "effect", "variance")}
    fail = paired_log_e(i, betting.loss_bets(**policy), 1)
    good = paired_log_e(i, betting.gain_bets(**policy), -1)
    needed = math.log(1 / i["alpha"])
    word = "fail" if fail >= needed else "pass" if good >= needed else "inconclusive"
    return {"log_e_fail": fail, "log_e_pass": good, "threshold": needed, "verdict": word}


def guarded_pause(i: Inputs) -> Result:
    bets = betting.loss_bets(margin=0.0, effect=i["effect"], variance=i["variance"])
    log_e = paired_log_e(i, bets, 1)
    estimate = (i["b_old_only_right"] - i["c_new_only_right"]) / i["pairs"]
    real = log_e >= math.log(1 / i["alpha"])
    return {
        "log_e_any_loss": log_e,
        "estimate": estimate,
        "real": real,
        "pause": real and estimate > i["threshold"],
    }


def sample_ratio(i: Inputs) -> Result:
    test = classical.sample_ratio_chi2(i["counts"], i["expected_shares"])
    return {"chi2": test.chi2, "p_value": test.p_value}


def benjamini_hochberg(i: Inputs) -> Result:
    found = multiple.benjamini_hochberg(i["p_values"], q=i["q"])
    return {
        "rejected": list(found.rejected),
        "n_rejected": len(found.rejected),
        "adjusted": list(found.adjusted),
    }


def e_bh(i: Inputs) -> Result:
    rejected = multiple.e_bh([math.log(e) for e in i["e_values"]], q=i["q"])
    return {"rejected": list(rejected), "n_rejected": len(rejected)}


def order_statistics(i: Inputs) -> Result:
    ranks = quantiles.order_statistic_ranks(i["n"], i["quantile"], level=i["confidence"])
    return {"lower_rank": ranks.lower, "upper_rank": ranks.upper, "coverage": ranks.coverage}


def wilks(i: Inputs) -> Result:
    n = quantiles.wilks_sample_size(**i)
    return {
        "n": n,
        "confidence_at_n": 1 - i["quantile"] ** n,
        "confidence_at_n_minus_1": 1 - i["quantile"] ** (n - 1),
    }


def ratio_of_means(i: Inputs) -> Result:
    found = ratio.ratio_of_means(ratio.RatioSums.of(i["numerator"], i["denominator"]))
    return {"ratio": found.estimate, "se": found.se}


def rogan_gladen(i: Inputs) -> Result:
    found = noise.rogan_gladen(
        i["positive"], i["tested"], sensitivity=i["sensitivity"], specificity=i["specificity"]
    )
    return {"estimate": found.estimate, "se_known_accuracy": found.se}


def judge_attenuation(i: Inputs) -> Result:
    judge = {"sensitivity": i["sensitivity"], "specificity": i["specificity"]}
    observed = noise.on_judge_scale(i["true_loss"], **judge)
    return {
        "observed_loss": observed,
        "margin_on_judge_scale": noise.on_judge_scale(i["margin"], **judge),
        "true_loss_exceeds_margin": i["true_loss"] > i["margin"],
        "observed_loss_exceeds_margin": observed > i["margin"],
    }


def ppi_mean(i: Inputs) -> Result:
    found = noise.ppi_mean(i["human"], i["judge_on_same"], i["judge_on_rest"], weight=i["lam"])
    return {
        "estimate": found.estimate,
        "se": found.se,
        **bounds(found.interval(level=1 - i["alpha"], method="ppi")),
    }


METHODS: dict[str, Callable[[Inputs], Result]] = {
    "agresti_caffo_difference_interval": two_rates(proportions.agresti_caffo),
    "asymptotic_confidence_sequence": asymptotic_sequence,
    "benjamini_hochberg": benjamini_hochberg,
    "bernoulli_confidence_sequence": bernoulli_sequence,
    "beta_binomial_mixture_log_e": beta_binomial,
    "betting_e_process_blocks": bet_blocks,
    "betting_e_process_paired": bet_paired,
    "betting_e_process_rate": bet_rate,
    "bonett_price_paired_difference_interval": pairs(paired.bonett_price),
    "clopper_pearson_interval": one_rate(proportions.clopper_pearson),
    "e_bh": e_bh,
    "farrington_manning_noninferiority": farrington_manning,
    "guarded_pause_paired": guarded_pause,
    "jeffreys_interval": one_rate(proportions.jeffreys),
    "judge_attenuation": judge_attenuation,
    "mantel_haenszel_odds_ratio": odds_ratio,
    "mcnemar": mcnemar,
    "mee_difference_interval": two_rates(proportions.mee),
    "miettinen_nurminen_difference_interval": two_rates(proportions.miettinen_nurminen),
    "newcombe_difference_interval": two_rates(proportions.newcombe_difference),
    "newcombe_paired_difference_interval": pairs(paired.newcombe_paired),
    "normal_mixture_two_sided": normal_mixture,
    "prediction_powered_mean": ppi_mean,
    "quantile_order_statistic_interval": order_statistics,
    "ratio_of_means_delta": ratio_of_means,
    "rogan_gladen": rogan_gladen,
    "sample_ratio_mismatch_chi2": sample_ratio,
    "sample_size_farrington_manning": size_farrington_manning,
    "sample_size_mcnemar": size_mcnemar,
    "sample_size_two_proportions": size_two_proportions,
    "stratified_risk_difference": risk_difference,
    "tango_paired_difference_interval": pairs(paired.tango),
    "three_valued_verdict_paired": verdict,
    "wilks_sample_size": wilks,
    "wilson_interval": one_rate(proportions.wilson),
    "windowed_betting_rule": windowed,
}


def loaded() -> list[dict[str, Any]]:
    if not CASES.exists():
        return []
    cases: list[dict[str, Any]] = json.loads(CASES.read_text("utf-8"))["cases"]
    return cases


needs_the_file = pytest.mark.skipif(
    not CASES.exists(), reason=f"the reference cases are kept outside the repository: {CASES}"
)


@needs_the_file
@pytest.mark.parametrize(
    "case", [c for c in loaded() if c["method"] not in NOT_IMPLEMENTED], ids=lambda c: c["id"]
)
def test_agrees_with_the_reference(case):
    found = METHODS[case["method"]](case["inputs"])

    assert found.keys() == case["expected"].keys()
    for name, expected in case["expected"].items():
        if isinstance(expected, bool | str) or expected is None:
            assert found[name] == expected, name
        else:
            assert found[name] == pytest.approx(expected, abs=case["tolerance"], rel=1e-10), name


@needs_the_file
def test_every_method_of_the_reference_is_implemented_or_left_out_for_a_reason(
    capsys: pytest.CaptureFixture[str],
):
    methods = [case["method"] for case in loaded()]
    named = set(methods)
    left_out = sum(method in NOT_IMPLEMENTED for method in methods)
    with capsys.disabled():
        compared = len(methods) - left_out
        said = f"{len(methods)} reference cases: {compared} are compared, {left_out} left out for a reason"
        print(f"\n{said}")  # noqa: T201 # for whoever asks how many

    assert named == METHODS.keys() | NOT_IMPLEMENTED.keys()
    assert not METHODS.keys() & NOT_IMPLEMENTED.keys()
